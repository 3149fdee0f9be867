import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { AUTO_BUDGET } from '../../src/config/keys.js';
import { decode16 } from '../../src/model/files/float_formats.js';
import { SafetensorsFile } from '../../src/model/files/safetensors.js';
import { edpo, tinyFolder, tinyPairs } from '../helpers/cli.js';
import { realTest, sharedData } from '../helpers/shared.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-modes-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
const hex = (path: string): string => readFileSync(path).toString('hex');
// Matrices of 64 x 65 are just large enough for 8-bit moments; the MLP's and the tables have odd counts.
const model = await tinyFolder(join(dir, 'model'), 1, { hidden_size: 65, num_attention_heads: 8, num_key_value_heads: 8, head_dim: 8 });
const data = tinyPairs(join(dir, 'train.jsonl'), 24);
const runJson = (name: string): { config: Record<string, unknown>; memory: Record<string, unknown>; precision: Record<string, string> } => JSON.parse(readFileSync(join(dir, name, 'run.json'), 'utf8')) as ReturnType<typeof runJson>;
const args = (out: string, ...more: string[]): string[] => ['train', '--model_name_or_path', model, '--data_files', data, '--loss_type', 'epsilon_dpo', '--total_batch_size', '4', '--num_train_epochs', '1', '--learning_rate', '1e-3',
  '--token_budget', '128', '--logging_steps', '1', '--save_steps', '3', '--report_html', 'false', '--output_dir', out, ...more];

/** Six steps, then again from the checkpoint after three: the same bytes. Returns the state after six. */
function resumes(t: Test, name: string, ...more: string[]): { state: string[] } {
  const out = join(dir, name);
  const whole = edpo(args(out, ...more));
  t.equal(whole.code, 0, whole.err);
  const files = ['checkpoint-6/edpo_state.safetensors', 'model.safetensors', 'pairs.ndjson'].filter((f) => existsSync(join(out, f)));
  const want = files.map((f) => hex(join(out, f)));
  const again = edpo(args(out, ...more, '--resume_from_checkpoint', join(out, 'checkpoint-3')));
  t.equal(again.code, 0, again.err);
  files.forEach((f, i) => t.equal(hex(join(out, f)), want[i], `${name}: ${f} after a resume`));
  const file = SafetensorsFile.open(join(out, 'checkpoint-6', 'edpo_state.safetensors'), undefined, true);
  const state = [...file.tensors.keys()];
  file.close();
  return { state };
}

t.test('every optimiser resumes to the same bytes, and keeps what it says', async (t) => {
  const first = 'model.layers.0.self_attn.q_proj.weight';
  const kinds = (state: string[], name: string): string[] => state.filter((k) => k.endsWith(`.${name}`)).map((k) => k.slice(0, k.indexOf('.')));
  const eight = resumes(t, 'adamw_8bit', '--optim', 'adamw_bnb_8bit', '--weight_decay', '0.01');
  t.same(kinds(eight.state, first), ['value', 'm8', 'm_max', 'v8', 'v_max']);
  t.same(kinds(eight.state, 'model.embed_tokens.weight'), ['value', 'm', 'v'], 'embeddings keep f32 moments');
  const factored = resumes(t, 'adafactor', '--optim', 'adafactor');
  t.same(kinds(factored.state, first), ['value', 'row', 'column']);
  const sgd = resumes(t, 'sgd', '--optim', 'sgd', '--sgd_momentum', '0.9', '--learning_rate', '0.05');
  t.same(kinds(sgd.state, first), ['value', 'buf']);
  const other = edpo(args(join(dir, 'sgd'), '--optim', 'adafactor', '--resume'));
  t.equal(other.code, 2);
  t.match(other.err, /belongs to another run: .*optimiser was \["sgd",\{"momentum":0.9\}\], is \["adafactor"/);
});

t.test('bf16 masters: a run resumes to the same bytes, matrices lie in two bytes a weight, and the model written is of them', async (t) => {
  resumes(t, 'bf16-adamw_torch', '--master_dtype', 'bfloat16', '--weight_decay', '0.01');
  resumes(t, 'bf16-adamw_8bit', '--master_dtype', 'bfloat16', '--optim', 'adamw_8bit');
  const out = join(dir, 'bf16-adamw_torch');
  const [state, written] = ['checkpoint-6/edpo_state.safetensors', 'model.safetensors'].map((f) => SafetensorsFile.open(join(out, f), undefined, true)) as [SafetensorsFile, SafetensorsFile];
  const name = 'model.layers.0.mlp.up_proj.weight';
  const words = state.readU32(`value.${name}`);
  const values = written.readF32(name);
  t.equal(words.length, Math.ceil(values.length / 2));
  t.same(decode16(new Uint16Array(words.buffer, words.byteOffset, values.length), 'BF16'), values, 'written as they lie');
  const tensors = [...state.tensors.keys()].filter((k) => k.startsWith('value.'));
  t.ok(tensors.every((k) => state.tensors.get(k)!.dtype === (/norm/.test(k) ? 'F32' : 'U32')), 'matrices packed, vectors f32');
  for (const f of [state, written]) f.close();
  const first = readFileSync(join(out, 'pairs.ndjson'), 'utf8');
  const seeded = edpo(args(join(dir, 'bf16-seed'), '--master_dtype', 'bfloat16', '--weight_decay', '0.01', '--seed', '43', '--data_seed', '42'));
  t.equal(seeded.code, 0, seeded.err);
  t.match(seeded.err, /policy: matrices trained in bfloat16 with stochastic rounding, .* instead of/);
  t.match(seeded.err, /note: the model’s files are F32: the policy begins rounded/);
  t.not(readFileSync(join(dir, 'bf16-seed', 'pairs.ndjson'), 'utf8'), first, 'another seed rounds otherwise');
  const other = edpo(args(out, '--weight_decay', '0.01', '--resume'));
  t.equal(other.code, 2);
  t.match(other.err, /belongs to another run: .*master was "bfloat16", is undefined/);
});

t.test('a policy and a reference in bf16 begin equal: ties are ties at the first step', async (t) => {
  const out = join(dir, 'bf16-ties');
  const r = edpo(args(out, '--master_dtype', 'bfloat16', '--base_dtype', 'bfloat16', '--ref_mode', 'live', '--max_steps', '1'));
  t.equal(r.code, 0, r.err);
  const rows = readFileSync(join(out, 'pairs.ndjson'), 'utf8').trim().split('\n').map((l) => JSON.parse(l) as { delta_plus: number; delta_minus: number; epsilon_step: number });
  t.equal(rows.length, 4);
  t.ok(rows.every((x) => x.delta_plus === 0 && x.delta_minus === 0 && x.epsilon_step === 0), JSON.stringify(rows[0]));
});

t.test('what bf16 masters do not go with is said, all of it at once', async (t) => {
  const bad = edpo(args(join(dir, 'bad'), '--master_dtype', 'bfloat16', '--use_peft', 'true', '--dtype', 'mixed_f16', '--ref_mode', 'live', '--sync_ref_model', 'true'));
  t.equal(bad.code, 2);
  t.match(bad.err, /master_dtype .*adapters are trained in float32/);
  t.match(bad.err, /master_dtype .*dtype: mixed_f16/);
  t.match(bad.err, /master_dtype .*a reference that moves/);
  const base = edpo(args(join(dir, 'bad'), '--base_dtype', 'bfloat16'));
  t.equal(base.code, 2);
  t.match(base.err, /base_dtype .*without use_peft: true all are trained/);
});

t.test('keys of other optimisers are said', async (t) => {
  const bad = edpo(args(join(dir, 'bad'), '--sgd_momentum', '0.9'));
  t.equal(bad.code, 2);
  t.match(bad.err, /sgd_momentum {2}belongs to optim: sgd, got optim: adamw_torch/);
  const unknown = edpo(args(join(dir, 'bad'), '--optim', 'lion_8bit'));
  t.equal(unknown.code, 2);
  t.match(unknown.err, /optim .*adamw_torch.*adamw_8bit.*adafactor.*sgd/);
});

t.test('token_budget auto: chosen from gpu_memory, tried on the longest documents, kept by the checkpoint; the dry step moves nothing', async (t) => {
  const out = join(dir, 'auto');
  const auto = ['--token_budget', 'auto', '--gpu_memory', '0.0017'];
  const whole = edpo(args(out, ...auto));
  t.equal(whole.code, 0, whole.err);
  const budget = Number(/token_budget auto: (\d+) rows/.exec(whole.err)?.[1]);
  t.ok(budget >= 64 && budget < 1000, whole.err);
  t.match(whole.err, /dry step on the 4 longest documents/);
  const [state, ledger] = ['checkpoint-6/edpo_state.safetensors', 'pairs.ndjson'].map((f) => hex(join(out, f)));
  // Another limit now: the checkpoint's choice holds, or gradients would be summed in another order.
  const again = edpo(args(out, '--token_budget', 'auto', '--gpu_memory', '0.01', '--resume_from_checkpoint', join(out, 'checkpoint-3')));
  t.equal(again.code, 0, again.err);
  t.same([hex(join(out, 'checkpoint-6/edpo_state.safetensors')), hex(join(out, 'pairs.ndjson'))], [state, ledger]);
  const { config, memory } = runJson('auto');
  t.same([config['token_budget'], memory['token_budget']], [AUTO_BUDGET, budget], 'run.json: as asked, and what it became');
  // The same budget by number, without a dry step.
  const given = join(dir, 'given');
  t.equal(edpo(args(given, '--token_budget', String(budget))).code, 0);
  t.equal(hex(join(given, 'checkpoint-6/edpo_state.safetensors')), state);
  const small = edpo(args(join(dir, 'small'), '--token_budget', 'auto', '--gpu_memory', '0.0005'));
  t.equal(small.code, 2);
  t.match(small.err, /the plan takes .* on the GPU \(.*\), gpu_memory is 500/);
});

t.test('head_tiles: what the run does with the head’s logits is said, resumes to the same bytes, and stays as it was chosen; the first losses have the same bits', async (t) => {
  const wide = await tinyFolder(join(dir, 'wide'), 1, { vocab_size: 1100 });
  const more = ['--model_name_or_path', wide];
  const tiles = (name: string): unknown => runJson(name).memory['head_tiles'];
  const first = (name: string): string[] => readFileSync(join(dir, name, 'pairs.ndjson'), 'utf8').trim().split('\n').slice(0, 4);
  for (const way of ['recomputed', 'kept']) {
    resumes(t, `tiles-${way}`, ...more, '--head_tiles', way);
    t.equal(tiles(`tiles-${way}`), way);
  }
  t.same(first('tiles-kept'), first('tiles-recomputed'));
  t.not(hex(join(dir, 'tiles-kept', 'model.safetensors')), hex(join(dir, 'tiles-recomputed', 'model.safetensors')));
  const other = edpo(args(join(dir, 'tiles-kept'), ...more, '--head_tiles', 'recomputed', '--resume'));
  t.equal(other.code, 2);
  t.match(other.err, /belongs to another run: .*headTiles was "kept", is undefined/);

  // In mixed precision by itself, where gpu_memory has room: 16,384 rows make the vocabulary more than one tile on any GPU.
  const mixed = [...more, '--dtype', 'mixed_f16', '--token_budget', '16384'];
  const roomy = edpo(args(join(dir, 'tiles-auto'), ...mixed, '--gpu_memory', '2'));
  if (/does not multiply f16 matrices/.test(roomy.err)) return t.comment('no subgroup matrices here');
  t.equal(roomy.code, 0, roomy.err);
  t.match(runJson('tiles-auto').precision['arithmetic'], /^f16 operands .* float32$/);
  t.match(roomy.err, /head tiles kept 36\.\d+ MB.*; the head’s logits the policy’s kept in f16 for the backward pass/);
  const want = hex(join(dir, 'tiles-auto', 'checkpoint-6/edpo_state.safetensors'));
  // No limit is given now: the checkpoint's choice holds.
  const again = edpo(args(join(dir, 'tiles-auto'), ...mixed, '--resume_from_checkpoint', join(dir, 'tiles-auto', 'checkpoint-3')));
  t.equal(again.code, 0, again.err);
  t.same([hex(join(dir, 'tiles-auto', 'checkpoint-6/edpo_state.safetensors')), tiles('tiles-auto'), runJson('tiles-auto').config['head_tiles']], [want, 'kept', 'auto']);
  const plan = (...keys: string[]): string => edpo(['plan', ...mixed, '--data_files', data, '--loss_type', 'epsilon_dpo', ...keys]).out;
  t.match(plan('--gpu_memory', '2'), /\n  head tiles kept +36\.\d+ MB\n[^]*\nthe head’s logits: the policy’s kept in f16/);
  t.match(plan(), /\nthe head’s logits: made again for the backward pass\n/);
});

realTest('the real model learns alike with 8-bit moments and packed activations, and with bf16 masters: losses within 2 % of f32’s, fewer bytes', async (t) => {
  const run = (name: string, ...more: string[]): { loss: number; gpu_bytes: number } => {
    const out = join(dir, name);
    const r = edpo(['train', '--model_name_or_path', sharedData('models', 'stories260K', 'hf'), '--dataset_name', sharedData('edpo-golden', 'helpful_b0.1_e0.01.tokenized.jsonl'), '--dataset_format', 'tokenized', '--loss_type', 'epsilon_dpo',
      '--max_length', '96', '--total_batch_size', '4', '--max_steps', '6', '--learning_rate', '1e-4', '--lr_scheduler_type', 'constant', '--token_budget', '1024', '--logging_steps', '1', '--save_strategy', 'no', '--report_html', 'false', '--output_dir', out, ...more]);
    t.equal(r.code, 0, r.err);
    return JSON.parse(readFileSync(join(out, 'trainer_log.jsonl'), 'utf8').trim().split('\n').at(-1)!) as { loss: number; gpu_bytes: number };
  };
  const f32 = run('real-f32');
  t.ok(f32.loss < 0.69, `loss ${f32.loss}`);
  const small = run('real-small', '--optim', 'adamw_8bit', '--activation_dtype', 'float16', '--gradient_checkpointing', 'true', '--gradient_checkpointing_granularity', 'mlp');
  t.ok(Math.abs(small.loss / f32.loss - 1) < 0.02, `${small.loss} against ${f32.loss}`);
  t.ok(small.gpu_bytes < f32.gpu_bytes, `${small.gpu_bytes} bytes against ${f32.gpu_bytes}`);
  const rounded = run('real-bf16', '--master_dtype', 'bfloat16', '--base_dtype', 'bfloat16');
  const precision = (name: string): Record<string, string> => runJson(name).precision;
  t.match(precision('real-small'), { arithmetic: 'float32', trained_weights: 'float32', activations: 'float16', optimiser: 'adamw_8bit' });
  t.match(precision('real-bf16'), { trained_weights: 'bfloat16', frozen_weights: 'bfloat16', activations: 'float32' });
  t.ok(Math.abs(rounded.loss / f32.loss - 1) < 0.02, `bf16 masters: ${rounded.loss} against ${f32.loss}`);
  t.comment(`losses: f32 ${f32.loss}, 8-bit AdamW with f16 activations ${small.loss}, bf16 masters ${rounded.loss}`);
  t.ok(rounded.gpu_bytes < f32.gpu_bytes, `${rounded.gpu_bytes} bytes against ${f32.gpu_bytes}`);
});
