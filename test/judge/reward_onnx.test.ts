import { cpSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { onnxJudge } from '../../src/model/judge/reward/onnx.js';
import { Queue } from '../../src/model/judge/queue.js';
import type { Question, Verdict } from '../../src/model/judge/types.js';
import { edpo, tinyFolder, tinyPairs } from '../helpers/cli.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-onnx-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
const model = 'test/goldens/reward_onnx';
const golden = JSON.parse(readFileSync(join(model, 'golden.json'), 'utf8')) as { pairs: Array<[string, string]>; scores: number[] };

async function ask(path: string, questions: Question[]): Promise<Array<{ id: string; verdict: Verdict } & Record<string, unknown>>> {
  const said: Array<{ id: string; verdict: Verdict } & Record<string, unknown>> = [];
  await (await onnxJudge(path)).ask(Queue.of(questions), (id, verdict, detail) => said.push({ id, verdict, ...detail }));
  return said;
}

t.test('scores of a BERT encoder equal transformers’; the higher one wins', async (t) => {
  const questions = golden.pairs.map(([prompt, a], i) => ({ id: `${i}`, prompt, a, b: golden.pairs[1]![1] }));
  const said = await ask(model, questions);
  golden.scores.forEach((want, i) => t.ok(Math.abs((said[i]!['score_a'] as number) - want) < 1e-5, `${golden.pairs[i]!.join(' / ')}: ${String(said[i]!['score_a'])} against ${want}`));
  t.equal(said[1]!.verdict, 'tie', 'an answer against itself');
  for (const s of said) if (s.verdict !== 'tie') t.equal(s.verdict, (s['score_a'] as number) > (s['score_b'] as number) ? 'a' : 'b');
});

t.test('an answer beyond the model’s 48 tokens is cut and said to be; a prompt that fills them leaves no verdict', async (t) => {
  const long = Array<string>(60).fill('a b').join(' ');
  const [cut, none] = await ask(model, [{ id: 'cut', prompt: 'a', a: long, b: 'b' }, { id: 'none', prompt: long, a: 'a', b: 'b' }]);
  t.match(cut, { truncated_a: true, truncated_b: undefined });
  t.ok(Number.isFinite(cut!['score_a']));
  const [same] = await ask(model, [{ id: 'same', prompt: 'a', a: long, b: `${long} and more` }]);
  t.equal(same!.verdict, 'tie', 'what is cut off says nothing');
  t.match(none, { verdict: 'invalid', reason: 'the prompt leaves no room for an answer' });
});

t.test('through eval-winrate as reward:FOLDER; folders that do not fit', async (t) => {
  const policy = await tinyFolder(join(dir, 'policy'));
  const base = ['eval-winrate', '--model_name_or_path', policy, '--dataset_name', tinyPairs(join(dir, 'data.jsonl'), 6), '--max_new_tokens', '5'];
  const r = edpo([...base, '--judge', `reward:${model}`, '--output_dir', join(dir, 'win')]);
  t.equal(r.code, 0, r.err);
  t.match(JSON.parse(readFileSync(join(dir, 'win', 'winrate.json'), 'utf8')), { n: 6, position_consistency: 1, judge: /^reward:[0-9a-f]{64}$/ });
  const copy = join(dir, 'copy');
  cpSync(model, copy, { recursive: true });
  const bad = (want: RegExp): void => {
    const e = edpo([...base, '--judge', `reward:${copy}`, '--output_dir', join(dir, 'bad')]);
    t.equal(e.code, 2, e.err);
    t.match(e.err, want);
  };
  renameSync(join(copy, 'tokenizer_config.json'), join(copy, 'away'));
  bad(/has no tokenizer_config\.json/);
  renameSync(join(copy, 'away'), join(copy, 'tokenizer_config.json'));
  writeFileSync(join(copy, 'config.json'), JSON.stringify({ ...(JSON.parse(readFileSync(join(copy, 'config.json'), 'utf8')) as object), id2label: { 0: 'no', 1: 'yes' } }));
  bad(/gives 2 scores to a dialogue; one was expected/);
  renameSync(join(copy, 'onnx', 'model.onnx'), join(copy, 'model.onnx'));
  bad(/model\.onnx is looked for in a folder onnx\//);
});
