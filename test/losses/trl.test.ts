import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { createIo } from '../../src/cli/io.js';
import { run as train } from '../../src/cli/train.js';
import { KEYS } from '../../src/config/keys.js';
import { loadConfig } from '../../src/config/load.js';
import { SafetensorsFile, writeSafetensors } from '../../src/model/files/safetensors.js';
import { LOSS_NAMES } from '../../src/model/losses/index.js';

interface Case { name: string; trainer: string; arguments: Record<string, unknown>; metrics: Record<string, number>; gradients: Array<[number, number]> }
interface Golden { versions: Record<string, string>; config: Record<string, unknown>; names: string[]; shapes: number[][]; documents: Record<string, Array<Record<string, number[] | boolean>>>; cases: Case[] }
/** What TRL's own trainers did in one optimiser step: test/goldens/make_trl.py. */
const golden = JSON.parse(readFileSync('test/goldens/trl.json', 'utf8')) as Golden;

/** Cases whose loss is no method of edpo, and why not. */
const OTHERS: Record<string, string> = {
  'cpo hinge': 'CPO’s paper has the logistic loss alone; a hinge on log-probs is slic_hf',
  'cpo ipo': 'CPO’s paper has the logistic loss alone',
};
/** Where TRL differs on purpose (losses.md 2.1): what it means, and which of its figures are not edpo’s. */
const DIFFERENT: Record<string, { why: string; not: string[] }> = {
  'sigmoid label_smoothing': { why: 'TRL since 0.29 ignores label_smoothing with sigmoid; edpo applies it, as TRL up to 0.28', not: ['loss', 'grad_norm', 'gradients'] },
  sft: { why: 'edpo sft reads the chosen responses alone, and TRL’s entropy is of both', not: ['entropy'] },
  ld_dpo: { why: 'TRL logs the weighted sums as logps, edpo the log-probs themselves', not: ['logps/chosen', 'logps/rejected'] },
  ...Object.fromEntries(['cpo simpo', 'simpo', 'simpo label_smoothing'].map((name) => [name, { why: 'TRL logs log-probs per token for SimPO, edpo their sums', not: ['logps/chosen', 'logps/rejected'] }])),
  orpo: { why: 'TRL logs log-probs per token for ORPO, edpo their sums', not: ['logps/chosen', 'logps/rejected'] },
  kto: { why: 'TRL takes the mismatched response from the row before in its batch, which of unpaired pairs is the same prompt’s half the time; edpo from another document in the order of the data: another z. KTO with a given z is apo_zero_unpaired’s form, compared above', not: ['loss', 'grad_norm', 'kl', 'gradients'] },
  alphapo: { why: 'as for SimPO; and TRL logs AlphaPO’s transformed reward, edpo SimPO’s β ā, of which it is a monotone function', not: ['logps/chosen', 'logps/rejected', 'rewards/chosen', 'rewards/rejected', 'rewards/margins'] },
};

/** edpo’s keys for a case; the same names but where a trainer of TRL’s is a method of edpo’s. */
function keysOf(c: Case): Record<string, string> {
  const { loss_type, loss_weights, alpha, simpo_gamma, cpo_alpha, ...rest } = c.arguments;
  const flags: Record<string, unknown> = { ...rest };
  if (c.trainer === 'DPOTrainer') Object.assign(flags, { loss_type: (loss_type as string[]).join(','), ...(loss_weights ? { loss_weights: (loss_weights as number[]).join(',') } : {}) });
  else if (c.trainer === 'KTOTrainer') flags['loss_type'] = loss_type;
  else if (c.trainer === 'ORPOTrainer') flags['loss_type'] = 'orpo';
  else if (alpha !== undefined) Object.assign(flags, { loss_type: 'alphapo', alphapo_alpha: alpha, simpo_gamma });
  else if (loss_type === 'simpo') Object.assign(flags, { loss_type: cpo_alpha === 0 ? 'simpo' : 'cpo_simpo', simpo_gamma, ...(cpo_alpha === 0 ? {} : { cpo_alpha }) });
  else Object.assign(flags, { loss_type: 'cpo', cpo_alpha });
  return Object.fromEntries(Object.entries(flags).map(([k, v]) => [k, String(v)]));
}

const wave = (size: number, n: number, phase: number): Float64Array => Float64Array.from({ length: size }, (_, i) => Math.sin(0.7 + phase + 12.9898 * (i + 1) + 78.233 * n));

/** The models of make_trl.py as a folder. */
async function modelFolder(dir: string, reference: boolean): Promise<string> {
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

/** The documents a trainer of TRL’s saw, as token ids; KTO’s and BCO’s come from pairs, which edpo splits as the golden’s data were split. */
function dataFile(dir: string, trainer: string): string {
  const path = join(dir, `${trainer}.jsonl`);
  const rows = golden.documents[trainer]!;
  const pairs = 'label' in rows[0]! ? rows.filter((r) => r['label']).map((r) => ({ prompt: r['prompt'], chosen: r['completion'], rejected: rows[rows.indexOf(r) + 1]!['completion'] })) : rows;
  writeFileSync(path, pairs.map((p) => `${JSON.stringify({ prompt_ids: p['prompt'], chosen_ids: p['chosen'], rejected_ids: p['rejected'] })}\n`).join(''));
  return path;
}

/** With such a rate and such an ε in its denominator AdamW's first step is the gradient, to a millionth of it. */
const AS_GRADIENT = { learning_rate: '1e6', adam_epsilon: '1e6', lr_scheduler_type: 'constant', max_grad_norm: '0', weight_decay: '0' };

const dir = mkdtempSync(join(tmpdir(), 'edpo-trl-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
const [policy, reference] = [await modelFolder(join(dir, 'policy'), false), await modelFolder(join(dir, 'reference'), true)];
const before = SafetensorsFile.open(join(policy, 'model.safetensors'));
const rowsOf = (name: string): number => golden.shapes[golden.names.indexOf(name)]![0]!;

/** One optimiser step of edpo on what TRL trained on: its log line, and its gradient as the golden holds it. */
async function oneStep(c: Case): Promise<{ metrics: Record<string, number>; gradients: Array<[number, number]> }> {
  const out = join(dir, c.name.replaceAll(' ', '_'));
  const sft = c.arguments['loss_type'] instanceof Array && c.arguments['loss_type'].join() === 'sft';
  const { loss_type, ...keys } = keysOf(c);
  const documents = golden.documents[c.trainer]!.length;
  const flags = {
    model_name_or_path: policy, data_files: dataFile(dir, c.trainer), dataset_format: 'tokenized', total_batch_size: String(documents), max_steps: '1', token_budget: '256', output_dir: out, shuffle: 'false', logging_steps: '1',
    save_strategy: 'no', report_html: 'false', save_dtype: 'float32', ...AS_GRADIENT, ...(sft ? {} : { ...keys, loss_type: loss_type! }), ...(!sft && /^(DPO|KTO)/.test(c.trainer) ? { ref_model_name_or_path: reference, ref_mode: 'live' } : {}),
  };
  const { config } = loadConfig({ file: undefined, flags, env: process.env, command: sft ? 'sft' : 'train' });
  const io = { ...createIo({ quiet: true }), out: () => undefined };
  await train(sft ? { ...config, loss_type: 'sft' } : config, io);
  const log = readFileSync(join(out, 'trainer_log.jsonl'), 'utf8').trim().split('\n').map((l) => JSON.parse(l) as Record<string, number>);
  const after = SafetensorsFile.open(join(out, 'model.safetensors'));
  const gradients = golden.names.map((name, n): [number, number] => {
    const [w0, w1] = [before, after].map((f) => f.readF32(name, 0, rowsOf(name))) as [Float32Array, Float32Array];
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
  return { metrics: log.find((l) => 'loss' in l)!, gradients };
}

/** Metrics by the same name that mean something else in TRL, or that edpo has not. */
const UNLIKE = ['mean_token_accuracy', 'logits/chosen', 'logits/rejected', 'log_odds_ratio', 'log_odds_chosen', 'nll_loss'];
const near = (got: number, want: number, size = Math.abs(want)): boolean => Math.abs(got - want) <= 1e-4 * Math.max(1, size);
const missing: string[] = [];

t.test(`one optimiser step as TRL ${golden.versions['trl']} makes it: loss, metrics and gradients of every method it has`, async (t) => {
  for (const c of golden.cases) {
    if (OTHERS[c.name] !== undefined) {
      t.comment(`${c.name}: not in edpo: ${OTHERS[c.name]}`);
      continue;
    }
    const keys = keysOf(c);
    const lacks = [...keys['loss_type']!.split(',').filter((l) => !LOSS_NAMES.includes(l as never)), ...Object.keys(keys).filter((k) => !KEYS.includes(k as never))];
    if (lacks.length > 0) {
      missing.push(c.name);
      t.comment(`${c.name}: not yet in edpo (${lacks.join(', ')})`);
      continue;
    }
    const different = DIFFERENT[c.name];
    const { metrics, gradients } = await oneStep(c);
    const compared = Object.keys(c.metrics).filter((k) => !UNLIKE.includes(k) && k in metrics);
    for (const k of ['loss', 'grad_norm']) t.ok(compared.includes(k), `${c.name}: ${k} is compared`);
    const off = compared.filter((k) => !near(metrics[k]!, c.metrics[k]!));
    // A tensor's product is a sum that may cancel: its size is that of the norms.
    const worst = Math.max(...gradients.map(([norm, product], i) => { const [n, p] = c.gradients[i]!; return Math.max(Math.abs(norm - n), Math.abs(product - p)) / Math.max(n, 1e-3); }));
    const wrong = [...off, ...(worst > 1e-4 ? ['gradients'] : [])];
    t.same(wrong.filter((k) => !different?.not.includes(k)), [], `${c.name}: ${wrong.map((k) => (k === 'gradients' ? `gradients off by ${worst}` : `${k} ${metrics[k]}, TRL ${c.metrics[k]}`)).join('; ') || `as TRL (gradients to ${worst.toExponential(1)})`}`);
    if (different) t.same(wrong.sort(), [...different.not].sort(), `${c.name}: ${different.why}`);
  }
  t.same(missing, [], 'no method of TRL’s is left out');
});
