import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { SafetensorsFile } from '../../src/model/files/safetensors.js';
import { edpo, tinyFolder, tinyPairs } from '../helpers/cli.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-tr-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
const lines = (path: string): Array<Record<string, number>> => readFileSync(path, 'utf8').trim().split('\n').map((l) => JSON.parse(l) as Record<string, number>);
const hex = (path: string): string => readFileSync(path).toString('hex');

const model = await tinyFolder(join(dir, 'model'));
const data = tinyPairs(join(dir, 'train.jsonl'), 48);
const args = (out: string, ...more: string[]): string[] => ['train', '--model_name_or_path', model, '--dataset_name', data, '--loss_type', 'epsilon_dpo', '--beta', '0.1', '--ref_mode', 'live', '--sync_ref_model', 'true', '--ref_model_sync_steps', '4', '--total_batch_size', '4',
  '--num_train_epochs', '1', '--learning_rate', '3e-3', '--lr_scheduler_type', 'constant', '--token_budget', '128', '--save_steps', '3', '--output_dir', out, ...more];

t.test('hard updates: after each the policy is its own reference, to the bit', async (t) => {
  const out = join(dir, 'hard');
  const r = edpo(args(out, '--ref_model_mixup_alpha', '1'));
  t.equal(r.code, 0, r.err);
  for (const l of lines(join(out, 'pairs.ndjson'))) {
    const fresh = (l['step']! - 1) % 4 === 0;
    t.equal(l['margin'] === 0 && l['delta_plus'] === 0 && l['epsilon_step'] === 0, fresh, `step ${l['step']}: margin ${l['margin']}`);
  }
});

t.test('a reference that never moves before the end is plain training, and said to be', async (t) => {
  const r = edpo(args(join(dir, 'late'), '--ref_model_sync_steps', '12', '--save_strategy', 'no'));
  t.equal(r.code, 0, r.err);
  t.match(r.err, /warning: sync_ref_model moves the reference after every 12 steps[^]*and the run has 12/);
  t.notMatch(edpo(args(join(dir, 'once'), '--ref_model_sync_steps', '11', '--save_strategy', 'no')).err, /moves the reference/);
});

t.test('soft updates: the share α of the policy; a resume ends with the same bytes', async (t) => {
  const out = join(dir, 'soft');
  t.equal(edpo(args(out, '--save_steps', '1')).code, 0);
  const states = [3, 4, 5].map((n) => SafetensorsFile.open(join(out, `checkpoint-${n}`, 'edpo_state.safetensors')));
  const base = SafetensorsFile.open(join(model, 'model.safetensors'));
  for (const name of base.tensors.keys()) {
    const rows = base.tensors.get(name)!.shape[0]!;
    const [before, at, after] = states.map((s) => s.readF32(`ref.${name}`, 0, rows)) as [Float32Array, Float32Array, Float32Array];
    const [start, policy] = [base.readF32(name, 0, rows), states[1]!.readF32(`value.${name}`, 0, rows)];
    t.same([...before], [...start], `${name}: untouched before step 4`);
    t.ok(at.every((v, i) => Math.abs(v - (0.6 * policy[i]! + 0.4 * start[i]!)) < 1e-6), 'mixed after step 4');
    t.same([...after], [...at], 'and left alone until step 8');
  }
  for (const s of states) s.close();
  base.close();
  const again = join(dir, 'again');
  cpSync(out, again, { recursive: true });
  const r = edpo(args(again, '--save_steps', '1', '--resume_from_checkpoint', join(again, 'checkpoint-6')));
  t.equal(r.code, 0, r.err);
  t.match(r.err, /resuming after step 6/);
  for (const f of ['pairs.ndjson', 'model.safetensors', 'checkpoint-12/edpo_state.safetensors']) t.equal(hex(join(again, f)), hex(join(out, f)), f);
});

t.test('what a moving reference rules out is said', async (t) => {
  for (const [more, message] of [
    [['--ref_mode', 'cache'], /sync_ref_model +moves the reference, so nothing of it can be cached: it needs ref_mode: live, got cache/],
    [['--loss_type', 'simpo'], /sync_ref_model +moves the reference, and loss_type simpo has none/],
    [['--ref_model_mixup_alpha', '0'], /ref_model_mixup_alpha/],
  ] as const) {
    const r = edpo(args(join(dir, 'never'), ...more));
    t.equal(r.code, 2);
    t.match(r.err, message);
  }
});
