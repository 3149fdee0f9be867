import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { createIo } from '../../src/cli/io.js';
import { run as train } from '../../src/cli/train.js';
import { loadConfig } from '../../src/config/load.js';
import { SafetensorsFile, writeSafetensors } from '../../src/model/files/safetensors.js';

/** The tiny Llama of make_trl.py: its configuration, and tensors by name. */
export interface GoldenModel { config: Record<string, unknown>; names: string[]; shapes: number[][] }
/** Of each tensor's gradient by name: its norm, and its product with a fixed vector. */
export type Projections = Array<[number, number]>;
export interface Step { metrics: Record<string, number>; gradients: Projections; folder: string }

const wave = (size: number, n: number, phase: number): Float64Array => Float64Array.from({ length: size }, (_, i) => Math.sin(0.7 + phase + 12.9898 * (i + 1) + 78.233 * n));

/** The models of make_trl.py as a folder. */
async function modelFolder(golden: GoldenModel, dir: string, reference: boolean): Promise<string> {
  mkdirSync(dir, { recursive: true });
  await writeSafetensors(join(dir, 'model.safetensors'), golden.names.map((name, n) => {
    const shape = golden.shapes[n]!;
    const size = shape.reduce((a, b) => a * b, 1);
    const [first, second] = [wave(size, n, 0), wave(size, n, 3.9)];
    const values = Float32Array.from(first, (v, i) => (/norm\.weight$/.test(name) ? 1 : 0) + (shape.length === 2 ? 0.4 : 0.1) * (v + (reference ? 0.8 * second[i]! : 0)));
    const width = shape[1] ?? 1;
    return { name, dtype: 'F32' as const, shape, read: async (from: number, rows: number) => values.subarray(from * width, (from + rows) * width) };
  }));
  writeFileSync(join(dir, 'config.json'), JSON.stringify({ architectures: ['LlamaForCausalLM'], ...golden.config }));
  const vocab = Object.fromEntries(Array.from({ length: 41 }, (_, i) => [`w${i}`, i]));
  writeFileSync(join(dir, 'tokenizer.json'), JSON.stringify({ version: '1.0', truncation: null, padding: null, added_tokens: [], normalizer: null, pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true }, post_processor: null, decoder: { type: 'ByteLevel' }, model: { type: 'BPE', dropout: null, unk_token: null, vocab, merges: [] } }));
  writeFileSync(join(dir, 'tokenizer_config.json'), JSON.stringify({ tokenizer_class: 'GPT2Tokenizer', eos_token: 'w1' }));
  return dir;
}

/** With such a rate and such an ε in its denominator AdamW's first step is the gradient, to a millionth of it. */
const AS_GRADIENT = { learning_rate: '1e6', adam_epsilon: '1e6', lr_scheduler_type: 'constant', max_grad_norm: '0', weight_decay: '0' };

/**
 * Makes the golden's policy and reference, and gives a function for one optimiser step of `edpo train` (or `edpo sft`, for loss_type sft) on token ids as
 * one batch: its log line, and its gradient as the goldens hold it.
 * @param rows lines of a data file: prompt_ids with chosen_ids and rejected_ids, or with completion_ids and label
 */
export async function stepper(golden: GoldenModel): Promise<(name: string, rows: object[], batch: number, flags: Record<string, string>, referenced: boolean) => Promise<Step>> {
  const dir = mkdtempSync(join(tmpdir(), 'edpo-step-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const [policy, reference] = [await modelFolder(golden, join(dir, 'policy'), false), await modelFolder(golden, join(dir, 'reference'), true)];
  const before = SafetensorsFile.open(join(policy, 'model.safetensors'));
  t.teardown(() => before.close());
  return async (name, rows, batch, flags, referenced) => {
    const folder = join(dir, name.replace(/[^\p{L}\d.-]/gu, '_'));
    const data = `${folder}.jsonl`;
    writeFileSync(data, rows.map((r) => `${JSON.stringify(r)}\n`).join(''));
    const sft = flags['loss_type'] === 'sft';
    const { loss_type, ...others } = flags;
    const all = {
      model_name_or_path: policy, data_files: data, dataset_format: 'tokenized', total_batch_size: String(batch), max_steps: '1', token_budget: '256', output_dir: folder, shuffle: 'false', logging_steps: '1',
      save_strategy: 'no', report_html: 'false', save_dtype: 'float32', ...AS_GRADIENT, ...(sft ? {} : { ...others, loss_type: loss_type! }), ...(referenced && !sft ? { ref_model_name_or_path: reference, ref_mode: 'live' } : {}),
    };
    const { config } = loadConfig({ file: undefined, flags: all, env: process.env, command: sft ? 'sft' : 'train' });
    await train(sft ? { ...config, loss_type: 'sft' } : config, { ...createIo({ quiet: true }), out: () => undefined });
    const log = readFileSync(join(folder, 'trainer_log.jsonl'), 'utf8').trim().split('\n').map((l) => JSON.parse(l) as Record<string, number>);
    const after = SafetensorsFile.open(join(folder, 'model.safetensors'));
    const gradients = golden.names.map((tensor, n): [number, number] => {
      const [w0, w1] = [before, after].map((f) => f.readF32(tensor, 0, golden.shapes[n]![0]!)) as [Float32Array, Float32Array];
      const fixed = wave(w0.length, n, 1);
      let [squares, product] = [0, 0];
      w0.forEach((w, i) => {
        const g = w - w1[i]!;
        squares += g * g;
        product += g * fixed[i]!;
      });
      return [Math.sqrt(squares), product];
    });
    after.close();
    return { metrics: log.find((l) => 'loss' in l)!, gradients, folder };
  };
}

export const near = (got: number, want: number, size = Math.abs(want)): boolean => Math.abs(got - want) <= 1e-4 * Math.max(1, size);

/** The largest deviation; a tensor's product is a sum that may cancel: its size is that of the norms. */
export const deviation = (got: Projections, want: Projections): number =>
  Math.max(...got.map(([norm, product], i) => { const [n, p] = want[i]!; return Math.max(Math.abs(norm - n), Math.abs(product - p)) / Math.max(n, 1e-3); }));
