import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { paretoFront } from '../../src/compare/figures.js';
import { readGrid } from '../../src/compare/grid.js';
import { totalBatch } from '../../src/config/total_batch.js';
import { TARGETS } from '../../src/compare/targets.js';
import { openChromium } from '../helpers/chromium.js';
import { edpo, edpoBeside, edpoKilled, tinyFolder, tinyPairs } from '../helpers/cli.js';
import { look } from '../helpers/look.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-compare-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
type Line = Record<string, number | string>;
const results = (folder: string): Line[] => readFileSync(join(folder, 'compare.ndjson'), 'utf8').trim().split('\n').map((l) => JSON.parse(l) as Line);
/** Without what a clock or an interruption changes. */
const timeless = (folder: string): Line[] => results(folder).map(({ minutes, gpu_bytes, ...rest }) => rest);

const model = await tinyFolder(join(dir, 'model'));
writeFileSync(join(dir, 'base.yaml'), [`model_name_or_path: ${model}`, `data_files: ${tinyPairs(join(dir, 'train.jsonl'), 48)}`, `eval_data_files: ${tinyPairs(join(dir, 'eval.jsonl'), 24, 7)}`,
  'loss_type: epsilon_dpo', 'beta: 0.1', 'total_batch_size: 8', 'num_train_epochs: 1', 'learning_rate: 3.0e-3', 'token_budget: 128', 'logging_steps: 2', 'save_steps: 2', `output_dir: ${join(dir, 'unused')}`].join('\n'));
const judge = join(dir, 'judge.mjs');
writeFileSync(judge, 'import { createInterface } from "node:readline";\nfor await (const l of createInterface({ input: process.stdin })) { const { id, a, b } = JSON.parse(l); console.log(JSON.stringify({ id, winner: a.length > b.length ? "a" : "b" })); }');
const write = (out: string, text: string): string => {
  const path = join(dir, `${out}.yaml`);
  writeFileSync(path, `base: base.yaml\noutput_dir: ${join(dir, out)}\n${text}`);
  return path;
};
const comparison = (out: string): string => write(out, `title: Two methods\nmethods:\n  - sigmoid\n  - {loss_type: simpo, name: simpo-g, simpo_gamma: 0.1}\noverrides: [{beta: 0.1}, {beta: 0.5}]\nseeds: [1]\nwinrate: {judge: "command:node ${judge}", max_new_tokens: 4, n_prompts: 6}\ntargets: [table2]\n`);

t.test('a grid of methods and overrides: one table, one cache, one page; its figures are those of the single commands', async (t) => {
  const r = edpo(['compare', '--config', comparison('whole')]);
  t.equal(r.code, 0, r.err);
  const table = results(join(dir, 'whole'));
  t.same(table.map((l) => [l['name'], l['beta']]), [['sigmoid-beta0.1', 0.1], ['sigmoid-beta0.5', 0.5], ['simpo-g-beta0.1', 0.1], ['simpo-g-beta0.5', 0.5]]);
  for (const l of table) {
    const heldout = JSON.parse(readFileSync(join(dir, 'whole', `${l['name']}-s1`, 'heldout', 'eval.json'), 'utf8')) as Line;
    t.equal(heldout['pairs'], 24, 'the evaluation file');
    t.equal(l['accuracy'], heldout['rewards/accuracies']);
    t.ok((l['kl_policy_ref'] as number) > 0 && Number.isFinite(l['win_rate'] as number) && (l['sample_kl'] as number) > 0 && (l['sample_kl_ref_policy'] as number) > 0);
  }
  t.not(table[0]!['loss_dpo'], table[1]!['loss_dpo']);
  t.match(r.out, /^\| method \| seed \| held-out accuracy .*\n\| --- [^\n]*\n\| sigmoid-beta0\.1 \| 1 \| [\d.]+ ± [\d.]+ \|/);
  const html = readFileSync(join(dir, 'whole', 'compare.html'), 'utf8');
  for (const id of ['f-tradeoff', 'f-tradeoff-heldout', 'f-fig4', 'appendix-c', 'target-table2']) t.match(html, `id="${id}"`);
  t.match(html, /Not run here: SFT, β-DPO, TR-DPO/);
  const again = edpo(['compare', '--config', comparison('whole')]);
  t.equal(again.code, 0, again.err);
  t.notMatch(again.err, /^(plan|adapter): /m, 'nothing is trained or evaluated twice');
  t.equal(readFileSync(join(dir, 'whole', 'compare.html'), 'utf8'), html, 'the same folders give the same page');
  const changed = edpo(['compare', '--config', comparison('whole'), '--learning_rate', '1e-2']);
  t.equal(changed.code, 2);
  t.match(changed.err, /4 finished runs of another configuration\n.*sigmoid-beta0\.1-s1 was made with learning_rate 0\.003, now 0\.01/);
});

t.test('in shards, one killed as it trains and as it samples: the same table', async (t) => {
  const parts = comparison('parts');
  for (const when of [/plan: [\s\S]*adapter:/, /compare 2\/2[\s\S]*eval 24\/24/]) t.equal((await edpoKilled(['compare', '--config', parts, '--shard', '1/2'], when)).signal, 'SIGKILL');
  const first = edpo(['compare', '--config', parts, '--shard', '1/2']);
  t.equal(first.code, 0, first.err);
  t.match(first.err, /2 of 4 runs are finished/);
  const stamp = statSync(join(dir, 'parts', 'sigmoid-beta0.5-s1', 'model.safetensors')).mtimeMs;
  t.equal(edpo(['compare', '--config', parts, '--shard', '0/2']).code, 0);
  t.same(timeless(join(dir, 'parts')), timeless(join(dir, 'whole')));
  t.equal(statSync(join(dir, 'parts', 'sigmoid-beta0.5-s1', 'model.safetensors')).mtimeMs, stamp);
});

t.test('two shards that start at once on no cache: one fills it with what the methods of both need, the other waits', async (t) => {
  // Single steps; mi_dpo's own key makes it want hidden states, kto wants mismatched pairs.
  const path = write('union', 'methods:\n  - kto\n  - {loss_type: mi_dpo, mi_kl: 1}\nseeds: [1]\n');
  const shards = await Promise.all(['0/2', '1/2'].map((s) => edpoBeside(['compare', '--config', path, '--shard', s, '--max_steps', '1'])));
  for (const r of shards) t.equal(r.code, 0, r.err);
  t.equal(shards.filter((r) => /another shard fills .*ref_cache; waiting for it/.test(r.err)).length, 1);
  const file = readFileSync(join(dir, 'union', 'ref_cache', 'ref.train.ndjson'), 'utf8').trim().split('\n');
  const header = JSON.parse(file[0]!) as { stores: string; mismatched?: boolean };
  t.same([header.stores, header.mismatched, file.length], ['hidden', true, 1 + 48]);
  t.notOk(readdirSync(join(dir, 'union', 'ref_cache')).some((f) => f.endsWith('.lock')), 'and nothing stays locked');
  for (const name of ['kto', 'mi_dpo']) t.ok(statSync(join(dir, 'union', `${name}-s1`, 'heldout', 'eval.json')).size > 0, `${name} is trained and evaluated`);
});

t.test('checkpoints (Fig. 3), realigned points, samples without a judge; figures as files; the page in light and dark', async (t) => {
  const path = write('fig3', 'methods: [epsilon_dpo]\nseeds: [1, 2]\nwinrate: {max_new_tokens: 4, n_prompts: 6}\ncheckpoints: true\nrealign: [0.5]\n');
  const r = edpo(['compare', '--config', path, '--figures', '--shard', '0/2', '--save_steps', '3']);
  t.equal(r.code, 0, r.err);
  const table = results(join(dir, 'fig3'));
  t.same(table.map((l) => [l['step'], l['realign']]), [[undefined, undefined], [3, undefined], [6, undefined], [undefined, 0.5]]);
  const [end, half, last, aligned] = table as [Line, Line, Line, Line];
  t.equal(half['epoch'], 0.5);
  for (const key of ['accuracy', 'kl_policy_ref', 'sample_kl']) t.equal(last[key], end[key], `the last checkpoint is the end: ${key}`);
  t.ok((half['kl_policy_ref'] as number) < (end['kl_policy_ref'] as number) && (aligned['kl_policy_ref'] as number) < (end['kl_policy_ref'] as number), 'half the way, and half of it by λ, is nearer to the reference');
  t.notOk(table.some((l) => 'win_rate' in l), 'nobody judged');
  const figures = readdirSync(join(dir, 'fig3', 'figures'));
  for (const id of ['fig3-kl', 'fig3-score', 'fig3-lowered', 'tradeoff-heldout']) t.ok(figures.includes(`${id}.svg`) && figures.includes(`${id}.csv`), id);
  const svg = readFileSync(join(dir, 'fig3', 'figures', 'fig3-kl.svg'), 'utf8');
  t.match(svg, /^<svg xmlns[\s\S]*<\/svg>\n$/);
  t.notMatch(svg, /var\(--/, 'colours of its own');
  // The share in the page is the ledger's.
  const ledger = readFileSync(join(dir, 'fig3', 'epsilon_dpo-s1', 'pairs.ndjson'), 'utf8').trim().split('\n').map((l) => JSON.parse(l) as Record<string, number>).filter((l) => l['step']! >= 1 && l['step']! <= 3);
  const csv = readFileSync(join(dir, 'fig3', 'figures', 'fig3-lowered.csv'), 'utf8').split('\n')[1]!.split(',');
  t.equal(Number(csv[2]), 0.5);
  t.ok(Math.abs(Number(csv[3]) - ledger.filter((l) => l['epsilon_step'] === 1).length / ledger.length) < 1e-12);
  const browser = await openChromium();
  if (!browser) return void t.comment('no Chromium for this platform: the page is not looked at');
  const shots = process.env['EDPO_SCREENSHOTS'] ?? dir;
  await look(t, browser, shots, join(dir, 'fig3', 'compare.html'), 'compare-light', { scheme: 'light', width: 1280 });
  await look(t, browser, shots, join(dir, 'whole', 'compare.html'), 'compare-dark', { scheme: 'dark', width: 1280 });
  await look(t, browser, shots, join(dir, 'whole', 'compare.html'), 'compare-narrow', { scheme: 'light', width: 360 });
  await browser.close();
});

t.test('the paper’s tables, and the Pareto front', async (t) => {
  t.same(TARGETS['table1-llama3']!.rows.find((r) => r.method === 'ε-DPO')!.figures, [46.4, 44.9, 36.7, 8]);
  t.same(TARGETS['table2']!.rows.map((r) => r.figures.length), [3, 3, 3, 3, 3, 3]);
  t.same(paretoFront([[3, 0.5], [1, 0.2], [2, 0.1], [3, 0.6], [4, 0.6], [5, 0.7]]), [[1, 0.2], [3, 0.6], [5, 0.7]]);
});

t.test('the shipped comparisons are such', async (t) => {
  const { runs, winrate } = readGrid('configs/compare/quickstart.yaml');
  t.same([...new Set(runs.map((r) => r.name))], ['sigmoid', 'epsilon_dpo', 'ipo', 'simpo', 'tr_dpo']);
  t.equal(runs.length, 10);
  t.ok(winrate!['judge']!.startsWith('command:'));
  const typed = { model_name_or_path: model, data_files: join(dir, 'train.jsonl'), eval_data_files: join(dir, 'eval.jsonl') };
  for (const file of readdirSync('configs/compare')) {
    if (readFileSync(join('configs/compare', file), 'utf8').includes('\nmethods:')) for (const r of readGrid(join('configs/compare', file), typed).runs) {
      t.equal(r.config.model_name_or_path, model, `${file}: ${r.name}`);
      if (!r.config.sync_ref_model || r.config.max_train_samples === 0) continue;
      const steps = Math.ceil(r.config.max_train_samples / totalBatch(r.config)) * r.config.num_train_epochs;
      t.ok(2 * r.config.ref_model_sync_steps < steps, `${file}: ${r.name} moves its reference after ${r.config.ref_model_sync_steps} of ${steps} steps, and again`);
    }
  }
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
  writeFileSync(bad, `base: ${join(dir, 'base.yaml')}\noutput_dir: ${join(dir, 'bad')}\nmethods: [sigmoid]\nwinrate: {judge: "none", n_promps: 4, temperature: -1, output_dir: x}\n`);
  const w = edpo(['compare', '--config', bad]);
  t.equal(w.code, 2, w.err);
  t.match(w.err, /winrate: output_dir[\s\S]*winrate: [\s\S]*n_promps +unknown key; did you mean n_prompts\?/, 'keys of edpo eval-winrate, before anything is trained');
  t.match(w.err, /temperature/);
  t.equal(edpo(['compare']).code, 2);
  t.match(edpo(['compare', '--config', comparison('whole'), '--shard', '2/2']).err, /shard: expected i\/n/);
});
