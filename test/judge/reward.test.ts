import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { writeSafetensors } from '../../src/model/files/safetensors.js';
import { openRewardFolder, RewardDecoder } from '../../src/model/judge/reward/decoder.js';
import { edpo, tinyFolder, tinyPairs } from '../helpers/cli.js';
import { testGpu } from '../helpers/gpu.js';
import { tinyConfig } from '../helpers/tiny_model.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-reward-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
const golden = JSON.parse(readFileSync('test/goldens/reward.json', 'utf8')) as { names: string[]; shapes: number[][]; sequences: number[][]; scores: number[] };

/** The model of test/goldens/make_reward.py, with a tokenizer over letters and a chat template. */
async function rewardFolder(path: string, over: Record<string, unknown> = {}, template = true): Promise<string> {
  await tinyFolder(path);
  writeFileSync(join(path, 'config.json'), JSON.stringify({ ...tinyConfig({ hidden_size: 24, num_hidden_layers: 3 }), architectures: ['LlamaForSequenceClassification'], id2label: { 0: 'LABEL_0' }, bos_token_id: 0, eos_token_id: 1, ...over }));
  await writeSafetensors(join(path, 'model.safetensors'), golden.names.map((name, n) => {
    const shape = golden.shapes[n]!;
    const size = shape.reduce((a, b) => a * b, 1);
    const values = Float32Array.from({ length: size }, (_, i) => {
      const v = Math.sin(0.7 + 12.9898 * (i + 1) + 78.233 * n);
      return shape.length === 1 ? 1 + 0.1 * v : 0.4 * v;
    });
    return { name, dtype: 'F32' as const, shape, read: (first: number, rows: number) => values.subarray(first * (shape[1] ?? 1), (first + rows) * (shape[1] ?? 1)) };
  }));
  if (template) writeFileSync(join(path, 'chat_template.jinja'), '{{ bos_token }}{% for m in messages %}{{ m.content }}{% if m.role == "user" %}:{% else %}{{ eos_token }}{% endif %}{% endfor %}');
  return path;
}
const model = await rewardFolder(join(dir, 'reward'));

t.test('scores equal transformers’; neither the batch nor the budget changes a bit', async (t) => {
  const gpu = await testGpu();
  const folder = openRewardFolder(model);
  const whole = await (await RewardDecoder.open(gpu, folder, 256)).score(golden.sequences);
  golden.scores.forEach((want, i) => t.ok(Math.abs(whole[i]! - want) < 1e-5, `${golden.sequences[i]!.length} tokens: ${whole[i]} against ${want}`));
  const small = await RewardDecoder.open(gpu, folder, 31);
  t.same(await small.score(golden.sequences), whole, 'a budget for one at a time');
  t.same(await small.score([golden.sequences[3]!]), [whole[3]], 'alone');
  await t.rejects(small.score([Array.from({ length: 31 }, () => 3)]), { message: 'a dialogue has 31 tokens, token_budget is 31', exitCode: 2 });
});

t.test('as a judge: the higher score wins, both orders agree, scores are kept; other folders are refused', async (t) => {
  const policy = await tinyFolder(join(dir, 'policy'));
  const data = tinyPairs(join(dir, 'data.jsonl'), 20);
  const base = ['eval-winrate', '--model_name_or_path', policy, '--dataset_name', data, '--max_new_tokens', '8', '--output_dir', join(dir, 'win')];
  const r = edpo([...base, '--judge', `reward:${model}`]);
  t.equal(r.code, 0, r.err);
  const verdicts = readFileSync(join(dir, 'win', 'annotations.ndjson'), 'utf8').trim().split('\n').slice(1).map((l) => JSON.parse(l) as { id: string; winner: string; score_a: number; score_b: number });
  t.equal(verdicts.length, 40);
  for (const v of verdicts) t.equal(v.winner, v.score_a > v.score_b ? 'a' : v.score_b > v.score_a ? 'b' : 'tie');
  const win = JSON.parse(readFileSync(join(dir, 'win', 'winrate.json'), 'utf8')) as { position_consistency: number; wins: number; losses: number };
  t.equal(win.position_consistency, 1);
  t.ok(win.wins > 0 && win.losses > 0);
  for (const [folder, message] of [
    [policy, /is a \(none\); a reward model/],
    [await rewardFolder(join(dir, 'two'), { id2label: { 0: 'bad', 1: 'good' } }), /gives 2 scores to a dialogue; one was expected/],
    [await rewardFolder(join(dir, 'untold'), {}, false), /has no chat_template/],
    [join(dir, 'nowhere'), /does not exist/],
  ] as const) {
    const e = edpo([...base, '--judge', `reward:${folder}`]);
    t.equal(e.code, 2, e.err);
    t.match(e.err, message);
  }
});
