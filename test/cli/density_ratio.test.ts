import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { fitClassifier, probability } from '../../src/model/density_ratio/classifier.js';
import { densityRatio } from '../../src/model/density_ratio/weights.js';
import { edpo, tinyFolder, tinyPairs } from '../helpers/cli.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-density-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
type Line = Record<string, number | null>;
const lines = <T = Line>(path: string): T[] => readFileSync(path, 'utf8').trim().split('\n').map((l) => JSON.parse(l) as T);
const write = (name: string, rows: object[]): string => {
  writeFileSync(join(dir, name), rows.map((x) => `${JSON.stringify(x)}\n`).join(''));
  return join(dir, name);
};

const model = await tinyFolder(join(dir, 'model'));
const pairs = tinyPairs(join(dir, 'pairs.jsonl'), 18);
/** Two thirds are desirable; prompts of the undesirable ones are other prompts. */
const bad = (i: number): boolean => i % 3 === 0;
const rows = lines<{ prompt: string; chosen: string; rejected: string }>(pairs).map(({ prompt, chosen, rejected }, i) => ({ prompt: bad(i) ? `b${prompt}` : prompt, completion: bad(i) ? rejected : chosen, label: !bad(i) }));
const data = write('single.jsonl', rows);
const held = write('held.jsonl', rows.slice(0, 6));
const numbers = (i: number): number[] => [Math.sin(3 * i), Math.cos(5 * i), bad(i) && i % 2 === 0 ? 1.5 : 0.2];
const embeddings = write('embeddings.ndjson', [...rows.keys()].reverse().map((id) => ({ id, embedding: numbers(id) })));
const train = (out: string, ...more: string[]): string[] => ['train', '--model_name_or_path', model, '--dataset_name', data, '--loss_type', 'bco', '--total_batch_size', '6', '--num_train_epochs', '1', '--learning_rate', '3e-3',
  '--lr_scheduler_type', 'constant', '--token_budget', '256', '--save_strategy', 'no', '--report_html', 'false', '--output_dir', join(dir, out), ...more];

t.test('embeddings from a file: the classifier’s ratios are the weights of undesirable responses, in training and in evaluation; a resume ends with the same bytes', async (t) => {
  const flags = ['--prompt_embeddings', embeddings, '--ref_mode', 'live', '--eval_data_files', held, '--eval_prompt_embeddings', embeddings, '--eval_strategy', 'epoch', '--save_strategy', 'steps', '--save_steps', '1'];
  const [plain, r] = [edpo(train('plain', '--ref_mode', 'live')), edpo(train('ratio', ...flags))];
  t.equal(plain.code, 0, plain.err);
  t.equal(r.code, 0, r.err);
  t.match(r.err, /density ratios: a classifier of the prompts of 12 desirable and 6 undesirable responses \(.*embeddings.ndjson, 3 numbers each\) is right on \d+\.\d % and \d+\.\d %; 6 undesirable responses weigh/);
  const ids = [...rows.keys()];
  const classifier = fitClassifier({ width: 3, x: Float64Array.from(ids.flatMap(numbers)), positive: ids.map((i) => !bad(i)) });
  const want = new Map(ids.filter(bad).map((i) => [i, densityRatio(probability(classifier, numbers(i)), { least: 0.5, most: 10 })]));
  t.ok(new Set([...want.values()].map((w) => w.toFixed(3))).size > 3, 'weights that differ');
  const said = lines<{ split: string; id: number; weight: number }>(join(dir, 'ratio', 'density_ratios.ndjson'));
  t.same(said.map((l) => `${l.split} ${l.id}`), ['train 0', 'train 3', 'train 6', 'train 9', 'train 12', 'train 15', 'eval 0', 'eval 3']);
  for (const { id, weight } of said) t.ok(Math.abs(weight - want.get(id)!) < 1e-9, `row ${id}: ${weight}`);
  // In step 1 policy and reference are equal: δ = 0 and a loss of log 2, times the weight.
  const first = lines(join(dir, 'ratio', 'pairs.ndjson')).filter((l) => l['step'] === 1);
  t.ok(first.some((l) => bad(l['id']!)) && first.some((l) => !bad(l['id']!)));
  for (const l of first) t.ok(Math.abs(l['loss']! - Math.LN2 * (want.get(l['id']!) ?? 1)) < 1e-6, `row ${l['id']}: ${l['loss']}`);
  t.notSame(lines(join(dir, 'plain', 'pairs.ndjson')).at(-1)!['loss'], lines(join(dir, 'ratio', 'pairs.ndjson')).at(-1)!['loss']);
  cpSync(join(dir, 'ratio'), join(dir, 'again'), { recursive: true });
  const again = edpo(train('again', ...flags, '--resume_from_checkpoint', join(dir, 'again', 'checkpoint-1')));
  t.equal(again.code, 0, again.err);
  for (const f of ['pairs.ndjson', 'model.safetensors', 'density_ratios.ndjson']) t.ok(readFileSync(join(dir, 'again', f)).equals(readFileSync(join(dir, 'ratio', f))), f);
  const other = write('other.ndjson', ids.map((id) => ({ id, embedding: [...numbers(id)].reverse().map((x) => x * (1 + id)) })));
  const refused = edpo(train('again', ...flags.map((f) => (f === embeddings ? other : f)), '--resume'));
  t.equal(refused.code, 2);
  t.match(refused.err, /belongs to another run: densityRatios was/);
});

t.test('embeddings from the reference: the same from a cache as live, whatever the budget; a sample is drawn by the seed', async (t) => {
  const [live, cached] = [edpo(train('live', '--prompt_embeddings', 'reference', '--ref_mode', 'live')), edpo(train('cached', '--prompt_embeddings', 'reference', '--token_budget', '40'))];
  for (const r of [live, cached]) {
    t.equal(r.code, 0, r.err);
    t.match(r.err, /12 desirable and 6 undesirable responses \(the reference’s states, 20 numbers each\)/);
  }
  t.equal(readFileSync(join(dir, 'cached', 'density_ratios.ndjson'), 'utf8'), readFileSync(join(dir, 'live', 'density_ratios.ndjson'), 'utf8'), 'a prompt’s state does not depend on the packing');
  const weights = lines<{ weight: number }>(join(dir, 'live', 'density_ratios.ndjson')).map((l) => l.weight);
  t.ok(weights.every((w) => w >= 0.5 && w <= 10) && new Set(weights).size > 2, weights.join(' '));
  const sampled = (seed: string): string => {
    const r = edpo(train(`sample${seed}`, '--prompt_embeddings', 'reference', '--ref_mode', 'live', '--prompt_sample_size', '4', '--max_steps', '1', '--seed', seed));
    t.match(r.err, /4 desirable and 4 undesirable/, r.err);
    return readFileSync(join(dir, `sample${seed}`, 'density_ratios.ndjson'), 'utf8');
  };
  t.notSame(sampled('1'), sampled('2'));
});

t.test('what cannot be weighed is refused', async (t) => {
  const without = (name: string, edit: (l: { id: unknown; embedding: unknown }) => object | undefined): string => write(name, lines<{ id: number; embedding: number[] }>(embeddings).flatMap((l) => edit(l) ?? []));
  for (const [args, message] of [
    [train('no', '--prompt_embeddings', without('short.ndjson', (l) => (l.id === 7 ? undefined : l))), /short.ndjson has no embedding of row 7/],
    [train('no', '--prompt_embeddings', without('odd.ndjson', (l) => (l.id === 7 ? { ...l, embedding: [1, 2] } : l))), /odd.ndjson line 11: an embedding of 2 numbers, and those before have 3/],
    [train('no', '--prompt_embeddings', without('text.ndjson', (l) => (l.id === 7 ? { ...l, embedding: [1, 'x', 2] } : l))), /text.ndjson line 11: embedding must be a list of finite numbers/],
    [train('no', '--prompt_embeddings', without('twice.ndjson', (l) => (l.id === 7 ? { ...l, id: 8 } : l))), /twice.ndjson line 11: row 8 stands here a second time/],
    [train('no', '--prompt_embeddings', join(dir, 'absent.ndjson')), /absent.ndjson/],
    [[...train('no', '--prompt_embeddings', 'reference'), '--dataset_name', pairs], /in pairs both kinds have the same prompts/],
    [train('no', '--min_density_ratio', '3'), /min_density_ratio\s+belongs to the weights that prompt_embeddings makes/],
    [train('no', '--prompt_embeddings', 'reference', '--min_density_ratio', '3', '--max_density_ratio', '2'), /min_density_ratio\s+is 3, above max_density_ratio 2/],
    [train('no', '--prompt_embeddings', 'reference', '--eval_prompt_embeddings', embeddings), /eval_prompt_embeddings\s+goes with a file in prompt_embeddings, got reference/],
    [train('no', '--prompt_embeddings', embeddings, '--eval_data_files', held, '--eval_strategy', 'epoch'), /the evaluation data need one of their own: give eval_prompt_embeddings/],
    [[...train('no', '--prompt_embeddings', 'reference'), '--loss_type', 'kto'], /prompt_embeddings\s+belongs to loss_type bco, got loss_type: kto/],
    [[...train('no', '--eval_prompt_embeddings', embeddings), '--loss_type', 'sigmoid'], /eval_prompt_embeddings\s+belongs to loss_type bco, got loss_type: sigmoid/],
  ] as Array<[string[], RegExp]>) {
    const r = edpo(args);
    t.equal(r.code, 2, r.err);
    t.match(r.err, message);
  }
});
