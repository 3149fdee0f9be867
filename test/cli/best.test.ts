import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import t from 'tap';
import { edpo, tinyFolder, tinyPairs } from '../helpers/cli.js';
import { realTest, sharedData } from '../helpers/shared.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-best-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
type Line = Record<string, number>;
const lines = (path: string): Line[] => readFileSync(path, 'utf8').trim().split('\n').map((l) => JSON.parse(l) as Line);
const hex = (path: string): string => readFileSync(path).toString('hex');

const model = await tinyFolder(join(dir, 'model'));
// Random letters, without the full stop that gives the rejected ones away, teach nothing that holds for other pairs: the evaluation loss rises.
const plain = (path: string): string => {
  writeFileSync(path, readFileSync(path, 'utf8').replaceAll('."}', '"}'));
  return path;
};
const data = plain(tinyPairs(join(dir, 'train.jsonl'), 64));
const evalData = plain(tinyPairs(join(dir, 'eval.jsonl'), 24, 7));
const args = (out: string, ...more: string[]): string[] => ['train', '--model_name_or_path', model, '--data_files', data, '--eval_data_files', evalData, '--loss_type', 'sigmoid', '--beta', '0.5', '--total_batch_size', '16', '--num_train_epochs', '3',
  '--learning_rate', '1e-2', '--lr_scheduler_type', 'constant', '--token_budget', '256', '--logging_steps', '1', '--eval_strategy', 'steps', '--eval_steps', '2', '--output_dir', out, ...more];
const evaluations = (out: string): Line[] => lines(join(out, 'trainer_log.jsonl')).filter((l) => 'eval_loss' in l);

t.test('load_best_model_at_end: the result is the evaluation’s best step, whose checkpoint outlives save_total_limit', async (t) => {
  for (const [metric, better] of [['eval_loss', Math.min], ['rewards/accuracies', Math.max]] as const) {
    const out = join(dir, metric.replace('/', '-'));
    const r = edpo(args(out, '--load_best_model_at_end', 'true', '--metric_for_best_model', metric, '--save_steps', '3', '--save_total_limit', '2'));
    t.equal(r.code, 0, r.err);
    const seen = evaluations(out);
    t.same(seen.map((l) => l['step']), [0, 2, 4, 6, 8, 10, 12]);
    const key = `eval_${metric.replace('eval_', '')}`;
    const best = seen.find((l) => l[key] === seen.map((e) => e[key]!).reduce((a, b) => better(a, b)))!['step']!;
    t.not(best, 12, 'the last step is not the best here, so the test can fail');
    const state = JSON.parse(readFileSync(join(out, 'trainer_state.json'), 'utf8')) as { best_model_checkpoint: string };
    t.equal(state.best_model_checkpoint, `checkpoint-${best}`);
    const kept = readdirSync(out).filter((f) => f.startsWith('checkpoint-')).sort();
    t.same(kept, [`checkpoint-${best}`, 'checkpoint-12'].sort(), 'the best and the last');
    t.equal(hex(join(out, 'model.safetensors')), hex(join(out, `checkpoint-${best}`, 'model.safetensors')), 'the best weights');
    t.not(hex(join(out, 'model.safetensors')), hex(join(out, 'checkpoint-12', 'model.safetensors')));
  }
});

t.test('early stopping ends after so many evaluations without a better one, with a checkpoint', async (t) => {
  const out = join(dir, 'early');
  const r = edpo(args(out, '--early_stopping_patience', '2', '--save_strategy', 'no'));
  t.equal(r.code, 0, r.err);
  const seen = evaluations(out);
  const losses = seen.map((l) => l['eval_loss']!);
  const best = losses.indexOf(Math.min(...losses));
  t.equal(best, losses.length - 3, `two evaluations after the best: ${losses.join(' ')}`);
  t.ok(seen.at(-1)!['step']! < 12, 'it did stop early');
  t.match(r.err, /stopped early at step/);
  t.ok(readdirSync(out).includes(`checkpoint-${seen.at(-1)!['step']}`));
});

t.test('DPO from cached log-probs equals DPO with the live reference, byte for byte', async (t) => {
  const [cached, live] = [join(dir, 'cached'), join(dir, 'live')];
  t.equal(edpo(args(cached, '--label_smoothing', '0.1')).code, 0);
  t.equal(edpo(args(live, '--label_smoothing', '0.1', '--ref_mode', 'live')).code, 0);
  t.equal(hex(join(live, 'model.safetensors')), hex(join(cached, 'model.safetensors')));
  t.equal(hex(join(live, 'pairs.ndjson')), hex(join(cached, 'pairs.ndjson')));
  t.notOk(readdirSync(join(cached, 'ref_cache')).some((f) => f.endsWith('.bin')), 'DPO caches two sums of log-probs, no hidden states');
});

realTest('on more HH pairs the loss at the starting β falls, and held-out accuracy comes with its standard error', async (t) => {
  const rows = gunzipSync(readFileSync(sharedData('hh-rlhf', 'helpful-base', 'test.jsonl.gz'))).toString('utf8').trim().split('\n');
  const held = join(dir, 'held.jsonl');
  writeFileSync(held, `${rows.slice(-80).join('\n')}\n`);
  const out = join(dir, 'hh');
  const r = edpo(['train', '--model_name_or_path', sharedData('models', 'stories260K', 'hf'), '--data_files', sharedData('hh-rlhf', 'helpful-base', 'test.jsonl.gz'), '--eval_data_files', held, '--dataset_format', 'hh', '--max_train_samples', '96', '--max_eval_samples', '40',
    '--max_length', '112', '--max_prompt_length', '48', '--truncation_mode', 'keep_start', '--loss_type', 'epsilon_dpo', '--beta', '0.1', '--total_batch_size', '32', '--num_train_epochs', '3', '--learning_rate', '1e-3', '--lr_scheduler_type', 'cosine',
    '--logging_steps', '1', '--eval_strategy', 'epoch', '--save_strategy', 'no', '--output_dir', out]);
  t.equal(r.code, 0, r.err);
  const ledger = lines(join(out, 'pairs.ndjson'));
  const mean = (epoch: number): number => {
    const of = ledger.filter((l) => Math.ceil(l['step']! / 3) === epoch);
    t.equal(of.length, 96);
    return of.reduce((n, l) => n + l['loss_dpo']!, 0) / 96;
  };
  const means = [1, 2, 3].map(mean);
  t.ok(means[2]! < means[1]! && means[1]! < means[0]! && means[0]! < 1.2 * Math.LN2, `loss at the starting β by epoch: ${means.join(' ')}`);
  const seen = evaluations(out);
  t.same(seen.map((l) => l['step']), [0, 3, 6, 9]);
  for (const l of seen) {
    const p = l['eval_rewards/accuracies']!;
    t.ok(Math.abs(l['eval_rewards/accuracies_se']! - Math.sqrt((p * (1 - p)) / 40)) < 1e-12, 'the binomial standard error');
  }
  t.match(r.err, /evaluation at step 9: loss [\d.]+, at the starting β [\d.]+, accuracy [\d.]+ ± [\d.]+/);
  t.comment(`held-out accuracy ${seen.map((l) => `${l['eval_rewards/accuracies']!.toFixed(3)} ± ${l['eval_rewards/accuracies_se']!.toFixed(3)}`).join(', ')}; loss at the starting β by epoch ${means.map((m) => m.toFixed(4)).join(', ')}`);
});
