import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { edpo, edpoKilled, tinyFolder, tinyPairs } from '../helpers/cli.js';
import { realTest, sharedData } from '../helpers/shared.js';
import { rng } from '../helpers/rng.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-train-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
type Line = Record<string, number>;
const lines = (path: string): Line[] => readFileSync(path, 'utf8').trim().split('\n').map((l) => JSON.parse(l) as Line);
const TIME_FIELDS = ['tokens_per_second', 'pairs_per_second', 'gpu_bytes', 'rss_bytes'];
const timeless = (path: string): Line[] => lines(path).map((l) => Object.fromEntries(Object.entries(l).filter(([k]) => !TIME_FIELDS.includes(k))));
const hex = (path: string): string => readFileSync(path).toString('hex');

const model = await tinyFolder(join(dir, 'model'));
const data = tinyPairs(join(dir, 'train.jsonl'), 96);
const evalData = tinyPairs(join(dir, 'eval.jsonl'), 24, 7);
const args = (out: string, ...more: string[]): string[] => ['train', '--model_name_or_path', model, '--data_files', data, '--eval_data_files', evalData, '--loss_type', 'epsilon_dpo', '--beta', '0.1', '--total_batch_size', '8', '--num_train_epochs', '2', '--learning_rate', '3e-3',
  '--lr_scheduler_type', 'cosine', '--warmup_ratio', '0.1', '--token_budget', '128', '--logging_steps', '3', '--eval_strategy', 'steps', '--eval_steps', '0.25', '--save_steps', '4', '--output_dir', out, ...more];

t.test('a run writes what it should; eval on the result repeats its last evaluation; cache and live reference agree', async (t) => {
  const out = join(dir, 'whole');
  const r = edpo(args(out));
  t.equal(r.code, 0, r.err);
  for (const f of ['model.safetensors', 'config.json', 'tokenizer.json', 'README.md', 'run.json', 'config.yaml', 'trainer_state.json', 'trainer_log.jsonl', 'pairs.ndjson', 'checkpoint-24']) t.ok(readdirSync(out).includes(f), f);
  const ledger = lines(join(out, 'pairs.ndjson'));
  t.equal(ledger.length, 192);
  t.ok(ledger.slice(0, 8).every((l) => l['epsilon_step'] === 0 && l['loss'] === Math.fround(Math.LN2) || Math.abs(l['loss']! - Math.LN2) < 1e-6), 'step 1: policy = reference, loss ln 2, no step');
  // β moves as the ledger says.
  let beta = 0.1;
  const log = lines(join(out, 'trainer_log.jsonl')).filter((l) => 'kl/beta' in l);
  for (let step = 1; step <= 24; step++) {
    const logged = log.find((l) => l['step'] === step);
    if (logged) t.ok(Math.abs(logged['kl/beta']! / beta - 1) < 1e-5, `β before step ${step}: ${logged['kl/beta']} against ${beta} from the ledger`);
    const steps = ledger.filter((l) => l['step'] === step).map((l) => l['epsilon_step']!);
    t.equal(steps.length, 8);
    beta /= 1 + (0.01 * steps.reduce((a, b) => a + b, 0)) / 8;
  }
  const last = lines(join(out, 'trainer_log.jsonl')).filter((l) => 'eval_loss' in l).at(-1)!;
  const evaluated = edpo(['eval', '--model_name_or_path', out, '--ref_model_name_or_path', model, '--dataset_name', evalData, '--loss_type', 'epsilon_dpo', '--beta', String((JSON.parse(readFileSync(join(out, 'run.json'), 'utf8')) as { beta: number }).beta), '--output_dir', join(dir, 'again')]);
  t.equal(evaluated.code, 0, evaluated.err);
  const again = JSON.parse(readFileSync(join(dir, 'again', 'eval.json'), 'utf8')) as Line;
  for (const key of ['loss', 'rewards/accuracies', 'rewards/margins', 'kl/policy_ref_chosen', 'kl/p_epsilon_steps']) t.equal(again[key], last[`eval_${key}`], key);
  const live = join(dir, 'live');
  t.equal(edpo(args(live, '--ref_mode', 'live')).code, 0);
  t.equal(hex(join(live, 'pairs.ndjson')), hex(join(out, 'pairs.ndjson')), 'live reference: the same ledger, byte for byte');
  t.equal(hex(join(live, 'model.safetensors')), hex(join(out, 'model.safetensors')), 'and the same weights');
  const other = join(dir, 'checkpointing');
  t.equal(edpo(args(other, '--gradient_checkpointing', 'true')).code, 0);
  t.equal(hex(join(other, 'model.safetensors')), hex(join(out, 'model.safetensors')), 'activation checkpointing: the same weights');
});

t.test('killed ten times at random moments and resumed: the same bytes as uninterrupted', async (t) => {
  const want = join(dir, 'whole');
  const started = Date.now();
  t.equal(edpo(args(join(dir, 'timed'))).code, 0);
  const took = Date.now() - started;
  const random = rng(20261120);
  const how = (out: string): string[] => (existsSync(out) && readdirSync(out).some((f) => /^checkpoint-\d+$/.test(f)) ? ['--resume'] : ['--overwrite_output_dir', 'true']);
  let kills = 0;
  for (let folder = 0; kills < 10; folder++) {
    const out = join(dir, `killed${folder}`);
    for (;;) {
      const r = await edpoKilled(args(out, ...how(out)), kills < 10 ? took * (0.1 + 0.8 * random.uniform()) : 600_000);
      if (r.signal) kills++;
      else if (r.code === 0) break;
      else {
        t.fail(r.err);
        return;
      }
    }
    for (const f of ['pairs.ndjson', 'model.safetensors', 'checkpoint-24/edpo_state.safetensors', 'ref_cache/ref.train.ndjson', 'ref_cache/ref.train.hidden-00000.bin', 'ref_cache/ref.eval.ndjson']) t.equal(hex(join(out, f)), hex(join(want, f)), f);
    t.same(timeless(join(out, 'trainer_log.jsonl')), timeless(join(want, 'trainer_log.jsonl')), 'the log without its time fields');
  }
  t.ok(kills >= 10, `${kills} kills`);
});

t.test('precompute-ref killed ten times: the same bytes; shards merge to them too', async (t) => {
  const many = tinyPairs(join(dir, 'many.jsonl'), 3000, 11);
  const base = (cache: string): string[] => ['precompute-ref', '--model_name_or_path', model, '--dataset_name', many, '--loss_type', 'epsilon_dpo', '--ref_cache', cache, '--token_budget', '64'];
  const whole = join(dir, 'cache-whole');
  const started = Date.now();
  t.equal(edpo(base(whole)).code, 0);
  const took = Date.now() - started;
  const random = rng(5);
  let kills = 0;
  for (let folder = 0; kills < 10; folder++) {
    const cut = join(dir, `cache-cut${folder}`);
    for (;;) {
      const r = await edpoKilled(base(cut), kills < 10 ? took * (0.2 + 0.7 * random.uniform()) : 600_000);
      if (r.signal) kills++;
      else if (r.code === 0) break;
      else {
        t.fail(r.err);
        return;
      }
    }
    for (const f of readdirSync(whole)) t.equal(hex(join(cut, f)), hex(join(whole, f)), f);
  }
  t.ok(kills >= 10, `${kills} kills`);
  const parts = join(dir, 'cache-parts');
  for (const i of [1, 0, 2]) t.equal(edpo([...base(parts), '--shard', `${i}/3`]).code, 0);
  t.equal(edpo([...base(parts), '--merge_shards', 'true']).code, 0);
  for (const f of readdirSync(whole)) t.equal(hex(join(parts, f)), hex(join(whole, f)), `${f}, merged of three shards`);
});

t.test('SIGTERM writes a checkpoint and exits 130; a resume ends with the same bytes', async (t) => {
  const out = join(dir, 'term');
  const r = await edpoKilled(args(out), /evaluation at step 6/, 'SIGTERM');
  t.equal(r.code, 130, r.err);
  t.match(r.err, /interrupted after step \d+; checkpoint .*checkpoint-\d+/);
  const end = edpo(args(out, '--resume'));
  t.equal(end.code, 0, end.err);
  t.equal(hex(join(out, 'pairs.ndjson')), hex(join(dir, 'whole', 'pairs.ndjson')));
  t.equal(hex(join(out, 'model.safetensors')), hex(join(dir, 'whole', 'model.safetensors')));
});

t.test('a checkpoint of another run is refused by name', async (t) => {
  const out = join(dir, 'foreign');
  cpSync(join(dir, 'whole'), out, { recursive: true });
  const r = edpo(args(out, '--resume', '--learning_rate', '1e-4'));
  t.equal(r.code, 2);
  t.match(r.err, /belongs to another run: learningRate was 0.003, is 0.0001/);
});

t.test('sft lowers the loss; weights in bf16 and f16 are written and read', async (t) => {
  const out = join(dir, 'sft');
  const r = edpo(['sft', '--model_name_or_path', model, '--dataset_name', data, '--output_dir', out, '--learning_rate', '1e-2', '--num_train_epochs', '4', '--total_batch_size', '16', '--logging_steps', '1', '--lr_scheduler_type', 'constant', '--save_dtype', 'bfloat16', '--token_budget', '256']);
  t.equal(r.code, 0, r.err);
  const log = lines(join(out, 'trainer_log.jsonl'));
  t.ok(log.at(-1)!['loss']! < log[0]!['loss']! - 0.3, `${log[0]!['loss']} to ${log.at(-1)!['loss']}`);
  const g = edpo(['generate', '--model_name_or_path', out, '--prompt', 'abc de:', '--max_new_tokens', '8', '--temperature', '0.7', '--top_k', '5', '--top_p', '0.9']);
  t.equal(g.code, 0, g.err);
  t.match(JSON.parse(g.out.trim()), { prompt: 'abc de:', output: String });
});

realTest('the real model overfits 64 HH pairs, from a strict 0 to an accuracy of at least 0.95', async (t) => {
  const out = join(dir, 'overfit');
  const r = edpo(['train', '--model_name_or_path', sharedData('models', 'stories260K', 'hf'), '--dataset_name', sharedData('hh-rlhf', 'helpful-base', 'test.jsonl.gz'), '--dataset_format', 'hh', '--max_train_samples', '64', '--max_length', '112', '--max_prompt_length', '48', '--truncation_mode', 'keep_start',
    '--loss_type', 'epsilon_dpo', '--beta', '0.1', '--total_batch_size', '32', '--num_train_epochs', '4', '--learning_rate', '2e-3', '--lr_scheduler_type', 'cosine', '--logging_steps', '1', '--save_strategy', 'no', '--output_dir', out]);
  t.equal(r.code, 0, r.err);
  const ledger = lines(join(out, 'pairs.ndjson'));
  const accuracy = (steps: number[]): number => { const l = ledger.filter((x) => steps.includes(x['step']!)); return l.filter((x) => x['reward_chosen']! > x['reward_rejected']!).length / l.length; };
  t.equal(accuracy([1]), 0, 'ties count as wrong');
  t.ok(accuracy([7, 8]) >= 0.95, `accuracy of the last epoch ${accuracy([7, 8])}`);
});
