import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { SafetensorsFile } from '../../src/model/files/safetensors.js';
import { edpo, tinyFolder, tinyPairs } from '../helpers/cli.js';
import { realTest, sharedData } from '../helpers/shared.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-modes-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
const hex = (path: string): string => readFileSync(path).toString('hex');
// Matrices of 64 x 64 are just large enough for 8-bit moments.
const model = await tinyFolder(join(dir, 'model'), 1, { hidden_size: 64, num_attention_heads: 8, num_key_value_heads: 8, head_dim: 8 });
const data = tinyPairs(join(dir, 'train.jsonl'), 24);
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
  // The same budget by number, without a dry step.
  const given = join(dir, 'given');
  t.equal(edpo(args(given, '--token_budget', String(budget))).code, 0);
  t.equal(hex(join(given, 'checkpoint-6/edpo_state.safetensors')), state);
  const small = edpo(args(join(dir, 'small'), '--token_budget', 'auto', '--gpu_memory', '0.0005'));
  t.equal(small.code, 2);
  t.match(small.err, /the plan takes .* on the GPU, gpu_memory is/);
});

realTest('the real model learns alike with 8-bit moments and packed activations: losses within 2 % of f32’s, fewer bytes', async (t) => {
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
});
