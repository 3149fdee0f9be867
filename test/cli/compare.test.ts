import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { readGrid } from '../../src/compare/grid.js';
import { edpo, edpoKilled, tinyFolder, tinyPairs } from '../helpers/cli.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-compare-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
type Line = Record<string, number | string>;
const results = (folder: string): Line[] => readFileSync(join(folder, 'compare.ndjson'), 'utf8').trim().split('\n').map((l) => JSON.parse(l) as Line);
/** Without what a clock or an interruption changes. */
const timeless = (folder: string): Line[] => results(folder).map(({ minutes, gpu_bytes, ...rest }) => { t.ok(minutes !== null && gpu_bytes !== null); return rest; });

const model = await tinyFolder(join(dir, 'model'));
writeFileSync(join(dir, 'base.yaml'), [`model_name_or_path: ${model}`, `data_files: ${tinyPairs(join(dir, 'train.jsonl'), 48)}`, `eval_data_files: ${tinyPairs(join(dir, 'eval.jsonl'), 24, 7)}`,
  'loss_type: epsilon_dpo', 'beta: 0.1', 'total_batch_size: 8', 'num_train_epochs: 1', 'learning_rate: 3.0e-3', 'token_budget: 128', 'logging_steps: 2', 'save_steps: 2', `output_dir: ${join(dir, 'unused')}`].join('\n'));
const judge = join(dir, 'judge.mjs');
writeFileSync(judge, 'import { createInterface } from "node:readline";\nfor await (const l of createInterface({ input: process.stdin })) { const { id, a, b } = JSON.parse(l); console.log(JSON.stringify({ id, winner: a.length > b.length ? "a" : "b" })); }');
const comparison = (out: string, extra = ''): string => {
  const path = join(dir, `${out}.yaml`);
  writeFileSync(path, `base: base.yaml\noutput_dir: ${join(dir, out)}\nmethods:\n  - sigmoid\n  - epsilon_dpo\n  - {loss_type: simpo, beta: 2, name: simpo-2}\nseeds: [1, 2]\nwinrate: {judge: "command:node ${judge}", max_new_tokens: 4, n_prompts: 6}\n${extra}`);
  return path;
};

t.test('a grid of methods and seeds: one table, one cache; its figures are those of the single commands', async (t) => {
  const r = edpo(['compare', '--config', comparison('whole')]);
  t.equal(r.code, 0, r.err);
  const table = results(join(dir, 'whole'));
  t.same(table.map((l) => [l['name'], l['seed']]), [['sigmoid', 1], ['sigmoid', 2], ['epsilon_dpo', 1], ['epsilon_dpo', 2], ['simpo-2', 1], ['simpo-2', 2]]);
  for (const l of table) {
    const heldout = JSON.parse(readFileSync(join(dir, 'whole', `${l['name']}-s${l['seed']}`, 'heldout', 'eval.json'), 'utf8')) as Line;
    t.equal(heldout['pairs'], 24, 'the evaluation file');
    t.equal(l['accuracy'], heldout['rewards/accuracies']);
    t.ok((l['kl_policy_ref'] as number) > 0 && Number.isFinite(l['win_rate'] as number) && (l['sample_kl'] as number) > 0);
  }
  t.not(table[0]!['loss_dpo'], table[1]!['loss_dpo'], 'the seed orders the data');
  t.match(r.out, /^\| method \| seed \| held-out accuracy .*\n\| --- [^\n]*\n\| sigmoid \| 1 \| [\d.]+ ± [\d.]+ \|/);
  const again = edpo(['compare', '--config', comparison('whole')]);
  t.equal(again.code, 0, again.err);
  t.notMatch(again.err, /^plan: /m, 'nothing is trained twice');
});

t.test('killed and resumed, and in shards: the same table', async (t) => {
  const cut = comparison('cut');
  for (const ms of [2500, 5000]) await edpoKilled(['compare', '--config', cut], ms);
  const r = edpo(['compare', '--config', cut]);
  t.equal(r.code, 0, r.err);
  t.same(timeless(join(dir, 'cut')), timeless(join(dir, 'whole')));
  const parts = comparison('parts');
  const first = edpo(['compare', '--config', parts, '--shard', '1/2']);
  t.equal(first.code, 0, first.err);
  t.match(first.err, /3 of 6 runs are finished/);
  const stamp = statSync(join(dir, 'parts', 'sigmoid-s2', 'model.safetensors')).mtimeMs;
  t.equal(edpo(['compare', '--config', parts, '--shard', '0/2']).code, 0);
  t.same(timeless(join(dir, 'parts')), timeless(join(dir, 'whole')));
  t.equal(statSync(join(dir, 'parts', 'sigmoid-s2', 'model.safetensors')).mtimeMs, stamp);
});

t.test('the shipped comparison is one', async (t) => {
  const { runs, winrate } = readGrid('configs/compare/quickstart.yaml');
  t.same([...new Set(runs.map((r) => r.name))], ['sigmoid', 'epsilon_dpo', 'ipo', 'simpo', 'tr_dpo']);
  t.equal(runs.length, 10);
  t.ok(winrate!['judge']!.startsWith('command:'));
});

t.test('a comparison that cannot run is refused before the first run, all problems at once', async (t) => {
  const bad = join(dir, 'bad.yaml');
  writeFileSync(bad, `base: base.yaml\noutput_dir: ${join(dir, 'bad')}\nmethods: [sigmoid, sigmoid, epsilon_dop, {loss_type: simpo, epsilon: 0.02, betta: 1}]\n`);
  const r = edpo(['compare', '--config', bad]);
  t.equal(r.code, 2);
  t.match(r.err, /3 problems[\s\S]*sigmoid: two methods of one name[\s\S]*"epsilon_dop" is no method to compare; did you mean epsilon_dpo\?[\s\S]*betta +unknown key; did you mean beta\?/);
  for (const [text, message] of [['methods: [sigmoid]\n', /base: .*\n.*output_dir: /], ['base: nowhere.yaml\noutput_dir: x\nmethods: [ipo]\n', /nowhere\.yaml/], ['base: [\n', /bad\.yaml line/]] as const) {
    writeFileSync(bad, text);
    const e = edpo(['compare', '--config', bad]);
    t.equal(e.code, 2, e.err);
    t.match(e.err, message);
  }
  t.equal(edpo(['compare']).code, 2);
  t.match(edpo(['compare', '--config', comparison('whole'), '--shard', '2/2']).err, /shard: expected i\/n/);
});
