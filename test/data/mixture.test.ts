import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import t from 'tap';
import { mixtureOrder } from '../../src/model/data/mixture.js';
import { edpo, tinyFolder } from '../helpers/cli.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-mixture-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
const model = await tinyFolder(join(dir, 'model'));
const put = (name: string, text: string): string => {
  mkdirSync(dirname(join(dir, name)), { recursive: true });
  writeFileSync(join(dir, name), text);
  return join(dir, name);
};
const lines = (rows: object[]): string => rows.map((r) => `${JSON.stringify(r)}\n`).join('');
const sorted = (ids: Iterable<number>): number[] => [...ids].sort((a, b) => a - b);

t.test('which rows a mixture takes, and in which order', async (t) => {
  const rules = { seed: 7, testSize: 3, take: 'random' as const };
  const m = mixtureOrder([100, 20], [0.29, 1], rules);
  t.same(m.taken, [29, 20]);
  t.same([m.train.length, m.held.length], [46, 3]);
  const all = [...m.held, ...m.train];
  t.equal(new Set(all).size, 49, 'no row twice, none both held out and trained on');
  t.same(sorted(all.filter((i) => i >= 100)), Array.from({ length: 20 }, (_, i) => 100 + i), 'a weight of 1 takes all');
  t.notSame(all, sorted(all), 'shuffled');
  t.ok(Math.max(...all.filter((i) => i < 100)) >= 50, 'drawn from the whole set');
  t.same(mixtureOrder([100, 20], [0.29, 1], rules), m, 'the same seed, the same rows');
  t.notSame(mixtureOrder([100, 20], [0.29, 1], { ...rules, seed: 8 }), m);
  t.same(sorted(mixtureOrder([100, 20], [0.29, 1], { seed: 42, testSize: undefined, take: 'first' }).train.filter((i) => i < 100)), Array.from({ length: 29 }, (_, i) => i), 'dataset_mixer takes the first rows');
  t.equal(mixtureOrder([10], [1], { ...rules, testSize: 0.25 }).held.length, 3, 'a share is rounded up, as by train_test_split');
  t.throws(() => mixtureOrder([10], [0.2], { ...rules, testSize: 2 }), /test_split_size 2 holds out 2 of 2 rows and leaves none to train on/);
  t.throws(() => mixtureOrder([10], [0.05], rules), /takes no row of any data set/);
  // Every row is equally likely to be taken: 0.29 · 400 = 116, three standard deviations of a binomial are 27.
  const often = Array.from({ length: 400 }, (_, seed) => new Set(mixtureOrder([100], [0.29], { ...rules, seed, testSize: undefined }).train));
  for (const i of [0, 37, 99]) t.ok(Math.abs(often.filter((s) => s.has(i)).length - 116) < 40, `row ${i}`);
});

// Set a (two splits) has a prompt column that is none; b has its rows in the folder of a configuration.
const letters = 'abcdefghijklmnop';
const texts = (n: number, from: number): object[] => Array.from({ length: n }, (_, i) => ({ prompt: 'zzzz', chosen: `q${letters[i % 16]}${letters[(i + from) % 16]}: yes`, rejected: `q${letters[i % 16]}${letters[(i + from) % 16]}: no`, score: 1 }));
put('a/train_prefs.jsonl', lines(texts(12, 1)));
put('a/test_prefs.jsonl', lines(texts(4, 2)));
put('b/small/train.jsonl', lines(texts(6, 3).map((r) => ({ ...r, prompt: 'pq:', chosen: ' ye', rejected: ' no' }))));
const set = (name: string, split: string, more = ''): string => `    - id: ${join(dir, name)}\n      split: ${split}\n${more}`;
const common = `model_name_or_path: ${model}\ntotal_batch_size: 4\nnum_train_epochs: 1\nlearning_rate: 1.0e-4\nsave_strategy: "no"\ntoken_budget: 256\n`;
const mixture = `${common}dataset_mixture:\n  datasets:\n${set('a', 'train_prefs', '      config: default\n      columns:\n        - chosen\n        - rejected\n      weight: 0.5\n')}${set('a', 'test_prefs', '      columns: [chosen, rejected]\n')}${set('b', 'train', '      config: small\n')}  seed: 5\n  test_split_size: 3\n`;

t.test('train runs alignment-handbook’s dataset_mixture as it says; eval takes what was held out', async (t) => {
  const config = put('handbook.yaml', `${mixture}eval_strategy: epoch\n`);
  const run = join(dir, 'run');
  const r = edpo(['train', '--config', config, '--output_dir', run]);
  t.equal(r.code, 0, r.err);
  t.match(r.err, /train: a mixture of \S+a train_prefs \(6 of 12 rows\), \S+a test_prefs \(4 of 4 rows\), \S+b train \(6 of 6 rows\), of which 3 are held out/);
  const want = mixtureOrder([12, 4, 6], [0.5, 1, 1], { seed: 5, testSize: 3, take: 'random' });
  const ids = (path: string): number[] => readFileSync(path, 'utf8').trim().split('\n').map((l) => (JSON.parse(l) as { id: number }).id);
  t.same(sorted(ids(join(run, 'pairs.ndjson'))), sorted(want.train), 'the ledger names rows by their numbers through all files');
  t.match(readFileSync(join(run, 'README.md'), 'utf8'), /datasets:\n- \S+a\n- \S+b\n/);
  t.match(readFileSync(join(run, 'report.html'), 'utf8'), /pq:/, 'the report finds the texts');
  const e = edpo(['eval', '--config', config, '--model_name_or_path', run, '--ref_model_name_or_path', model, '--output_dir', join(dir, 'eval')]);
  t.equal(e.code, 0, e.err);
  t.same(sorted(ids(join(dir, 'eval', 'pairs.ndjson'))), sorted(want.held));
  // The order is the mixture's, for what takes the first rows or does not shuffle.
  const again = edpo(['train', '--config', config, '--shuffle', 'false', '--output_dir', join(dir, 'plain'), '--eval_strategy', 'no', '--max_train_samples', '8']);
  t.equal(again.code, 0, again.err);
  const steps = ids(join(dir, 'plain', 'pairs.ndjson'));
  t.same([sorted(steps.slice(0, 4)), sorted(steps.slice(4))], [sorted(want.train.slice(0, 4)), sorted(want.train.slice(4, 8))]);
});

t.test('columns are chosen: the prompt is then what the two sides share', async (t) => {
  const shown = (columns: string): Record<string, Array<[number, string]>> => {
    const r = edpo(['inspect', '--config', put('columns.yaml', `${common}dataset_mixture:\n  datasets:\n${set('a', 'train_prefs', columns)}`), '--max_train_samples', '1', '--json']);
    t.equal(r.code, 0, r.err);
    return JSON.parse(r.out.split('\n')[0]!) as never;
  };
  const text = (r: Record<string, Array<[number, string]>>): string => r['prompt']!.map(([, piece]) => piece).join('');
  t.match(text(shown('')), /zzzz/);
  t.match(text(shown('      columns: [chosen, rejected]\n')), /q\w\w:/);
  const bad = edpo(['inspect', '--config', put('bad.yaml', `${common}dataset_mixture:\n  datasets:\n${set('a', 'train_prefs', '      columns: [chosen, rejcted]\n')}`)]);
  t.equal(bad.code, 2);
  t.match(bad.err, /a\/train_prefs.jsonl line 1: column rejcted, chosen in dataset_mixture, is missing; it has prompt, chosen, rejected, score/);
});

t.test('the older dataset_mixer runs: first rows of a share, evaluation splits whole', async (t) => {
  const one = put('one.yaml', `${common}dataset_mixer:\n  ${join(dir, 'a')}: 0.5\ndataset_splits:\n- train_prefs\n- test_prefs\neval_strategy: "no"\n`);
  const e = edpo(['eval', '--config', one, '--ref_model_name_or_path', model, '--output_dir', join(dir, 'mixer')]);
  t.equal(e.code, 0, e.err);
  t.match(e.err, /eval: a mixture of \S+a test_prefs \(4 of 4 rows\)/);
  const p = edpo(['plan', '--config', one, '--json']);
  t.equal(p.code, 0, p.err);
  t.match(JSON.parse(p.out), { documents: 6 });
});
