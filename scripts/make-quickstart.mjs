// Makes examples/quickstart from nothing: a byte-level tokenizer with a few whole words, a small random Llama, noisy instruction data, and from
// `edpo sft` the tiny instruct model; then preference pairs and held-out prompts. Seeded throughout; run by hand:
//   npm run build && node scripts/make-quickstart.mjs
// The task: name the largest of three numbers. The instruction data are right 45 % of the time, so the model knows the order of numbers
// and does not yet prefer right answers: what preference training is for.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync, copyFileSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { keyedUniform } from '../dist/src/model/data/order.js';
import { writeSafetensors } from '../dist/src/model/files/safetensors.js';
import { modelSpec } from '../dist/src/model/families/index.js';
import { parameterSpecs } from '../dist/src/model/families/spec.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const out = join(root, 'examples/quickstart');
const work = mkdtempSync(join(tmpdir(), 'edpo-quickstart-'));
const SEED = 20261120;

// ---- tokenizer: GPT-2's byte alphabet, the words of the task whole
const bytes = [...range(33, 126), ...range(161, 172), ...range(174, 255)];
const alphabet = [];
for (let b = 0, extra = 0; b < 256; b++) alphabet.push(String.fromCharCode(bytes.includes(b) ? b : 256 + extra++));
const words = ['Which', 'Ġis', 'Ġlargest', 'Ġor', ...range(10, 99).map((n) => `Ġ${n}`), ...range(10, 99).map(String)];
const specials = ['<s>', '</s>', '<|user|>', '<|assistant|>', '<|end|>'];
const vocab = Object.fromEntries([...specials, ...alphabet, ...words].map((w, i) => [w, i]));
const tokenizer = {
  version: '1.0', truncation: null, padding: null,
  added_tokens: specials.map((content, id) => ({ id, content, special: true, single_word: false, lstrip: false, rstrip: false, normalized: false })),
  normalizer: null, pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
  post_processor: null, decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
  model: { type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: false, byte_fallback: false, ignore_merges: true, vocab, merges: [] },
};
const template = "<s>{% for m in messages %}{% if m['role'] == 'user' %}<|user|>{{ m['content'] }}<|end|>{% else %}<|assistant|>{{ m['content'] }}<|end|>{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";
const tokenizerConfig = { tokenizer_class: 'PreTrainedTokenizerFast', bos_token: '<s>', eos_token: '<|end|>', add_bos_token: true, chat_template: template, clean_up_tokenization_spaces: false, model_max_length: 64 };

// ---- a random model
const config = {
  architectures: ['LlamaForCausalLM'], model_type: 'llama', hidden_size: 64, intermediate_size: 128, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2, head_dim: 16,
  vocab_size: Math.ceil(Object.keys(vocab).length / 8) * 8, max_position_embeddings: 64, rms_norm_eps: 1e-5, rope_theta: 10000, hidden_act: 'silu', attention_bias: false, mlp_bias: false,
  tie_word_embeddings: true, bos_token_id: 0, eos_token_id: 4, torch_dtype: 'float32',
};
async function writeModel(dir) {
  mkdirSync(dir, { recursive: true });
  const spec = modelSpec(config, 'quickstart');
  await writeSafetensors(join(dir, 'model.safetensors'), parameterSpecs(spec).map((p, i) => ({
    name: p.name, dtype: 'F32', shape: p.shape,
    read: (first, rows) => {
      const width = p.shape[1] ?? 1;
      return Float32Array.from({ length: rows * width }, (_, j) => (p.shape.length === 1 ? 1 : normal(SEED, i, first * width + j) * (p.table ? 0.1 : 1 / Math.sqrt(width))));
    },
  })));
  json(join(dir, 'config.json'), config);
  json(join(dir, 'tokenizer.json'), tokenizer);
  json(join(dir, 'tokenizer_config.json'), tokenizerConfig);
  json(join(dir, 'generation_config.json'), { bos_token_id: 0, eos_token_id: 4, do_sample: true });
}

// ---- data
const prompt = (n) => `Which is largest: ${n[0]}, ${n[1]} or ${n[2]}?`;
function triple(stream, i) {
  const numbers = [];
  for (let k = 0; numbers.length < 3; k++) {
    const n = 10 + Math.floor(keyedUniform(SEED, stream, i, k) * 90);
    if (!numbers.includes(n)) numbers.push(n);
  }
  return numbers;
}
const seen = new Set();
/** `count` triples nobody else got. */
function triples(stream, count) {
  const list = [];
  for (let i = 0; list.length < count; i++) {
    const n = triple(stream, i);
    const key = [...n].sort().join();
    if (seen.has(key)) continue;
    seen.add(key);
    list.push(n);
  }
  return list;
}
const heldOut = triples(1, 400);
const preferences = triples(2, 1200);
const instructions = triples(3, 20000);

const user = (n) => ({ role: 'user', content: prompt(n) });
const assistant = (n) => ({ role: 'assistant', content: String(n) });
const largest = (n) => Math.max(...n);
const other = (n, stream, i) => n.filter((x) => x !== largest(n))[keyedUniform(SEED, stream, i) < 0.5 ? 0 : 1];
const lines = (path, rows) => writeFileSync(path, rows.map((r) => JSON.stringify(r)).join('\n') + '\n');

await writeModel(join(work, 'random'));
lines(join(work, 'instructions.jsonl'), instructions.map((n, i) => ({ messages: [user(n), assistant(keyedUniform(SEED, 4, i) < 0.45 ? largest(n) : other(n, 5, i))] })));
const pair = (n, i) => ({ prompt: [user(n)], chosen: [assistant(largest(n))], rejected: [assistant(other(n, 6, i))] });
mkdirSync(join(out, 'data'), { recursive: true });
lines(join(out, 'data/train.jsonl'), preferences.map(pair));
lines(join(out, 'data/test.jsonl'), heldOut.map(pair));

execFileSync(process.execPath, [
  join(root, 'bin/edpo.js'), 'sft', '--model_name_or_path', join(work, 'random'), '--dataset_name', join(work, 'instructions.jsonl'), '--output_dir', join(work, 'sft'),
  '--learning_rate', '3e-3', '--lr_scheduler_type', 'cosine', '--warmup_ratio', '0.05', '--num_train_epochs', '4', '--total_batch_size', '64', '--save_strategy', 'no', '--save_dtype', 'bfloat16', '--logging_steps', '50', '--token_budget', '2048', '--seed', '1',
], { stdio: 'inherit' });
mkdirSync(join(out, 'model'), { recursive: true });
for (const f of ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json', 'generation_config.json']) copyFileSync(join(work, 'sft', f), join(out, 'model', f));
console.error(readFileSync(join(work, 'sft/trainer_log.jsonl'), 'utf8').trim().split('\n').at(-1));
rmSync(work, { recursive: true });

function range(a, b) { return Array.from({ length: b - a + 1 }, (_, i) => a + i); }
function json(path, value) { writeFileSync(path, JSON.stringify(value, null, 1) + '\n'); }
function normal(...keys) { return Math.sqrt(-2 * Math.log(1 - keyedUniform(...keys, 0))) * Math.cos(2 * Math.PI * keyedUniform(...keys, 1)); }
