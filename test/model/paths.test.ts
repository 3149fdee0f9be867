import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { createIo } from '../../src/cli/io.js';
import { run as train } from '../../src/cli/train.js';
import { loadConfig } from '../../src/config/load.js';
import type { Gpu } from '../../src/gpu/device.js';
import { matrixTile } from '../../src/gpu/matrices.js';
import { PAIR_COLUMNS } from '../../src/gpu/ops/document_loss.js';
import type { PackedFormat } from '../../src/gpu/packed.js';
import { FUSED_PATHS, pathsOff, type FusedPath } from '../../src/gpu/paths.js';
import type { Document } from '../../src/model/batch/pack.js';
import { Engine } from '../../src/model/engine.js';
import type { EngineOptions } from '../../src/model/engine_types.js';
import { loraTargets } from '../../src/model/lora.js';
import { optimisers } from '../../src/model/optim/index.js';
import { isLayerMatrix } from '../../src/model/storage.js';
import { debugRead } from '../../src/gpu/readback.js';
import type { Tensor } from '../../src/gpu/tensor.js';
import { kernelFields } from '../../src/model/reference.js';
import { tinyFolder, tinyPairs } from '../helpers/cli.js';
import { loadParameters, makeEngine } from '../helpers/engine.js';
import { adapted, randomAdapters } from '../helpers/lora.js';
import { testGpu } from '../helpers/gpu.js';
import { rng } from '../helpers/rng.js';
import { tinySpec, tinyWeights } from '../helpers/tiny_model.js';

const gpu = await testGpu();
const tile = matrixTile(gpu);
const STEPS = 10;
const OPTIMISE = { lr: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, maxGradNorm: 1, weightDecay: 0 };

/** How far two trainings may be apart: numbers of the ledger, of the largest of their pair; the weights' difference, of the way they went (both norms). */
interface Apart { ledger: number; weights: number; why: string }

/*
 * The same values added in another order. Of a pair's numbers the log-probs are the largest; the others are made of differences of such, so all have the same absolute rounding: some
 * roundings of 2^-24 for every layer. AdamW makes a step of the size of the rate from a gradient of any size, so that an element whose gradient is little more than rounding may go
 * another way; of the way of all, that is as little as the share of such elements. A rate off by a thousandth is 1e-3 of the way.
 */
const ORDER: Apart = { ledger: 2 ** -19, weights: 1e-4, why: 'f32 sums run in another order' };
/** Queries, keys, values and probabilities have a rounding of at most 2^-11 each, so that what attention makes is off by four of them. */
const HALF: Apart = { ledger: 2 ** -9, weights: 0.01, why: 'operands of attention are rounded to f16' };
/** Where a sum is off by its last bit the f16 operand made of it may be the one beside, 2^-10 away: of few operands, but as far as `HALF` in a number made of few. */
const MIXED_ORDER: Apart = { ledger: 2 ** -9, weights: 0.005, why: 'f32 sums run in another order before they are rounded to f16' };

/**
 * Probabilities of the head's gradient come from f - top in f16. The invented model's are even, so that f - top is between -4 and -8 of most: half a spacing is 2^-9, and as much is a
 * probability off. Sums of them that cancel to a quarter move AdamW's step by four times that; of the forward pass, which reads none of it, the ledger sees those steps alone.
 */
const KEPT: Apart = { ledger: 2 ** -11, weights: 2 ** -7, why: 'the head’s logits are rounded to f16 for the backward pass' };

/** Inputs, A, what it makes and B have a rounding of at most 2^-11 each, four as `HALF`; of gradients dy and du besides, and all that is trained is made of those. */
const ADAPTERS: Apart = { ledger: 2 ** -9, weights: 0.02, why: 'operands of adapters are rounded to f16' };

interface Case {
  /** In f16 matrices. */
  mixed?: boolean;
  /** Of the model, over `MODEL`. */
  model?: Record<string, unknown>;
  documents?: Document[];
  /** How the reference's layers are kept; its tables in bf16 then. */
  reference?: PackedFormat;
  /** Adapters of this rank are trained, on every matrix. */
  rank?: number;
  options?: Partial<EngineOptions> & { rows?: number };
  /** Of the device while it is recorded and run: what an adapter that takes the path has. */
  device?: Partial<Pick<Gpu, 'products' | 'kind' | 'limits'>>;
  /** Paths that are off with it and without it. */
  without?: FusedPath[];
  /** Whether it was taken, by the labels of all that was recorded and how many bind groups the steps made. */
  taken: (recorded: string[], madeInSteps: number) => boolean;
  apart: 'bits' | Apart;
}
/** Whole fours everywhere; heads as wide as one matrix. */
const MODEL = { hidden_size: 24, intermediate_size: 28, head_dim: typeof tile === 'string' ? 8 : tile.MM, num_attention_heads: 4, vocab_size: 40 };
/** Norms after attention and MLP too. */
const GEMMA2 = { model_type: 'gemma2', num_hidden_layers: 2, hidden_activation: 'gelu_pytorch_tanh', query_pre_attn_scalar: 16, attn_logit_softcapping: 50, final_logit_softcapping: 30 };
const labelled = (pattern: RegExp) => (recorded: string[]): boolean => recorded.some((label) => pattern.test(label));
const times = (pattern: RegExp, recorded: string[]): number => recorded.filter((label) => pattern.test(label)).length;

/** Prompts and responses of 1 to `most` tokens. */
function pairs(count: number, most: number, length = (r: ReturnType<typeof rng>): number => 1 + r.int(most)): Document[] {
  const r = rng(3);
  const ids = (n: number): number[] => Array.from({ length: n }, () => r.int(MODEL.vocab_size));
  return Array.from({ length: count }, (_, id) => ({ id, prompt: ids(length(r)), branches: [ids(length(r)), ids(length(r))] }));
}
const DOCUMENTS = pairs(4, 6);

/** Two ranges of 512 rows and more, of a model of few tiles. */
const RANGES: Pick<Case, 'model' | 'documents' | 'options'> = { model: { hidden_size: 16, intermediate_size: 16, num_attention_heads: 2, num_hidden_layers: 1 }, documents: pairs(5, 35, () => 35), options: { rows: 1024 } };

/** One for each path but that of the trainer's loop, which is below: a new path that has none here does not compile. */
const CASES: Record<Exclude<FusedPath, 'late_reading'>, Case | Case[]> = {
  attention_matrix: { mixed: true, taken: labelled(/attention\.matrix/), apart: HALF },
  attention_tiled: { device: { products: { form: 'tiled' } }, documents: pairs(2, 6), without: ['products_tiled'], taken: labelled(/attention\.tiled/), apart: ORDER },
  products_tiled: { device: { products: { form: 'tiled' } }, documents: pairs(2, 6), model: { num_hidden_layers: 1 }, taken: labelled(/matmul\.tiled/), apart: ORDER },
  // Gate and up are two, queries, keys and values three, in each of two layers.
  product_sums: { mixed: true, taken: (recorded) => times(/matrix_nn_sum2/, recorded) === 2 && times(/matrix_nn_sum3/, recorded) === 2, apart: MIXED_ORDER },
  split_sums: [
    { device: { products: { form: 'tiled' } }, ...RANGES, taken: labelled(/split_sum/), apart: ORDER },
    { mixed: true, ...RANGES, taken: labelled(/split_sum/), apart: MIXED_ORDER },
  ],
  by_fours: [{ taken: labelled(/_vec4|_lanes/), apart: ORDER }, { mixed: true, taken: labelled(/_vec4|_lanes/), apart: MIXED_ORDER }],
  subgroup_sums: [{ taken: () => gpu.rowLanes > 1, apart: ORDER }, { mixed: true, taken: () => gpu.rowLanes > 1, apart: MIXED_ORDER }],
  norm_operand: [
    { mixed: true, taken: labelled(/rms_norm\.fwd_f16/), apart: 'bits' },
    { mixed: true, model: { model_type: 'stablelm', layer_norm_eps: 1e-5 }, taken: labelled(/layer_norm\.fwd_f16/), apart: 'bits' },
    { mixed: true, model: GEMMA2, taken: labelled(/rms_norm\.bwd_f16/), apart: 'bits' },
    { mixed: true, rank: 3, model: GEMMA2, taken: labelled(/rms_norm\.fwd_f16/), apart: 'bits' },
  ],
  norm_next: [{ model: GEMMA2, taken: labelled(/rms_norm\.fwd_next_vec4/), apart: 'bits' }, { mixed: true, model: GEMMA2, taken: labelled(/rms_norm\.fwd_next_f16/), apart: 'bits' }],
  // The same blocks of rows in the same order.
  norm_gain: [{ taken: labelled(/rms_norm\.bwd_vec4_gain/), apart: 'bits' }, { mixed: true, model: GEMMA2, taken: labelled(/rms_norm\.bwd_f16_gain/), apart: 'bits' }],
  residual_operand: [
    { mixed: true, taken: labelled(/rms_norm\.bwd_f16_add/), apart: 'bits' },
    { mixed: true, rank: 3, taken: labelled(/rms_norm\.bwd_f16_add/), apart: 'bits' },
    { mixed: true, options: { gradientCheckpointing: true }, taken: labelled(/rms_norm\.bwd_f16_add/), apart: 'bits' },
  ],
  swiglu_operand: [
    { mixed: true, without: ['swiglu_product'], taken: labelled(/swiglu\.(fwd|bwd)_f16/), apart: 'bits' },
    { mixed: true, rank: 3, taken: labelled(/swiglu\.bwd_f16/), apart: 'bits' },
  ],
  swiglu_product: [{}, { model: GEMMA2 }, { options: { gradientCheckpointing: true } }, { model: GEMMA2, options: { gradientCheckpointing: 'mlp' as const } }].map((made): Case => ({
    mixed: true, ...made, taken: (recorded) => labelled(/matmul\.matrix_nt_swiglu/)(recorded) && labelled(/matmul\.matrix_nn_swiglu_act$/)(recorded) && !labelled(/swiglu\.(fwd|bwd)/)(recorded), apart: 'bits',
  })),
  head_grad_operand: { mixed: true, taken: labelled(/head_grad\.bwd_f16/), apart: 'bits' },
  head_tiles_kept: { mixed: true, model: { vocab_size: 1100 }, options: { headTiles: 'kept' }, taken: labelled(/head_grad\.bwd_f16_kept/), apart: KEPT },
  head_tile_skip: { mixed: true, model: { vocab_size: 1100 }, taken: labelled(/matmul\.matrix_tn\w*\.filled/), apart: 'bits' },
  lora_matrices: { mixed: true, rank: 9, taken: (recorded) => times(/matmul\.matrix_nt_acc/, recorded) === 14, apart: ADAPTERS },
  lora_operands: { mixed: true, rank: 9, taken: labelled(/matmul\.matrix_n[tn]_operand/), apart: 'bits' },
  adamw_copy: { mixed: true, taken: labelled(/adamw_vec4_f16/), apart: 'bits' },
  // Values turn by no position, so their bias is the product's.
  product_bias: [
    { device: { products: { form: 'tiled' } }, documents: pairs(2, 6), model: { model_type: 'qwen2', num_hidden_layers: 1 }, taken: labelled(/matmul\.tiled_nt.*_bias/), apart: 'bits' },
    { mixed: true, without: ['product_heads'], model: { model_type: 'qwen2' }, taken: labelled(/matmul\.matrix_nt_bias/), apart: 'bits' },
  ],
  // Three operands for each of two layers of two models, in the forward pass alone.
  heads_kept: { mixed: true, without: ['product_heads'], taken: (recorded) => times(/pack_f16(_vec4)?\.rows/, recorded) === 12, apart: 'bits' },
  product_heads: { mixed: true, without: ['product_qkv'], model: { model_type: 'qwen2' }, taken: (recorded) => times(/matrix_nt_rows_turned_bias/, recorded) === 8 && times(/matrix_nt_rows_bias/, recorded) === 4 && !labelled(/rope(_vec4)?_bias|\.rows/)(recorded.filter((l) => !/watched/.test(l))), apart: 'bits' },
  product_qkv: [
    { mixed: true, taken: (recorded) => times(/matrix_nt_qkv_turned$/, recorded) === 4, apart: 'bits' },
    // With biases it binds 13 buffers.
    ...(gpu.limits.storageBuffers >= 13 ? [{ mixed: true, model: { model_type: 'qwen2' }, taken: (recorded: string[]) => times(/matrix_nt_qkv_turned_bias/, recorded) === 4, apart: 'bits' as const }] : []),
  ],
  grad_norm_grouped: { taken: labelled(/grad_norm\.partial_\d/), apart: 'bits', without: ['parameter_arena'] },
  // Widths that leave tensors ending within four elements; a tied embedding is in no arena.
  parameter_arena: [
    { model: { hidden_size: 21, intermediate_size: 27, tie_word_embeddings: true }, taken: labelled(/grad_norm\.arena/), apart: 'bits' },
    // Matrices of 4,096 numbers and more have moments of 8 bits; their last block is not whole.
    { model: { hidden_size: 68, intermediate_size: 67, num_hidden_layers: 1 }, documents: pairs(2, 6), options: { optimiser: optimisers.adamw_8bit }, taken: labelled(/adamw_8bit_arena/), apart: 'bits' },
  ],
  rope_bias: { model: { model_type: 'qwen2' }, taken: labelled(/rope(_vec4)?_bias/), apart: 'bits' },
  quantised_operands: { mixed: true, reference: 'nf4_double', taken: labelled(/matmul\.matrix_nt\w*\.nf4_double/), apart: 'bits' },
  // In one piece, however small the pieces of a table are to be: a tile ends with its piece.
  head_wide: { device: { kind: 'hardware', products: { form: 'patches' }, limits: { ...gpu.limits, tableSplitBytes: gpu.limits.bindingBytes } }, model: { vocab_size: 1100 }, taken: (recorded) => times(/head_stats/, recorded) === 2, apart: ORDER },
  replay: { taken: (_, made) => made === 0, apart: 'bits' },
};

interface Training { losses: Float32Array[]; weights: Float32Array; way: number; recorded: string[]; made: number }

/** Labels of all bind groups made while `body` runs. */
async function boundIn(body: () => Promise<void>): Promise<string[]> {
  const labels: string[] = [];
  const original = gpu.device.createBindGroup.bind(gpu.device);
  Object.defineProperty(gpu.device, 'createBindGroup', { configurable: true, value: (of: GPUBindGroupDescriptor) => {
    labels.push(of.label ?? '');
    return original(of);
  } });
  try {
    await body();
  } finally {
    delete (gpu.device as Partial<GPUDevice>).createBindGroup;
  }
  return labels;
}

/** Ten optimiser steps of ε-DPO with a live reference on a small model, from the same weights. */
async function training(c: Omit<Case, 'taken' | 'apart'>, o: { lr?: number; anew?: boolean } = {}): Promise<Training> {
  const { documents = DOCUMENTS, options = {} } = c;
  const before = { products: gpu.products, kind: gpu.kind, limits: gpu.limits, mixed: gpu.mixed, without: gpu.without };
  Object.assign(gpu, c.device ?? {}, { without: new Set([...gpu.without, ...(c.without ?? [])]), mixed: c.mixed && typeof tile !== 'string' ? tile : undefined });
  try {
    const spec = tinySpec({ ...MODEL, ...c.model });
    const lora = c.rank === undefined ? undefined : { r: c.rank, alpha: 2 * c.rank, rslora: false, targets: loraTargets(spec, ['all-linear']) };
    const policy = lora ? (await adapted(gpu, spec, tinyWeights(spec, 1), lora, randomAdapters(spec, lora, 3, 0.05))).policy : await loadParameters(gpu, spec, tinyWeights(spec, 1), true);
    const reference = await loadParameters(gpu, spec, tinyWeights(spec, 2), false, 'reference', (p) => (c.reference === undefined || p.shape.length !== 2 ? 'f32' : isLayerMatrix(spec, p) ? c.reference : 'bf16'));
    const values = async (): Promise<Float32Array> => Float32Array.from((await Promise.all(policy.trained.list.map(async (p) => [...(await policy.trained.read(p.name))]))).flat());
    const start = await values();
    let engine: Engine;
    const build = async (): Promise<Engine> => (engine = await makeEngine(gpu, policy, 'epsilon_dpo', { kind: 'live', parameters: reference }, { rows: 256, ...options }));
    const renew = async (): Promise<void> => {
      const last = engine;
      const state = new Map([...last.optimiserState!.kept()].map(({ name, tensor }): [string, Tensor] => [name, tensor]));
      const [beta, step] = [(await debugRead(last.betaState))[0]!, await last.readStepState()];
      await build();
      for (const { name, tensor } of engine.optimiserState!.kept()) tensor.write(await debugRead(state.get(name)!));
      engine.setState(beta, step);
    };
    const recorded = await boundIn(async () => void (await build()));
    const losses: Float32Array[] = [];
    const made = await boundIn(async () => {
      for (let step = 0; step < STEPS; step++) {
        if (o.anew && step > 0) await renew();
        const read = engine.microBatch(documents, undefined, 1 / documents.length, true);
        const record = engine.optimise({ ...OPTIMISE, lr: o.lr ?? OPTIMISE.lr });
        losses.push((await read()).table.slice());
        if ((await record()).skipped) throw new Error(`step ${step + 1} was skipped`);
      }
    });
    const weights = await values();
    policy.destroy();
    reference.destroy();
    return { losses, weights, way: apart(weights, start), recorded, made: made.length };
  } finally {
    Object.assign(gpu, before);
  }
}

/** The norm of a difference. */
const apart = (a: Float32Array, b: Float32Array): number => Math.sqrt(a.reduce((n, v, i) => n + (v - b[i]!) ** 2, 0));

/** The largest difference of two ledgers, of the largest number of its pair. */
const worst = (a: Float32Array[], b: Float32Array[]): number => Math.max(...a.flatMap((table, s) => Array.from({ length: table.length / PAIR_COLUMNS.length }, (_, d) => {
  const [from, to] = [d * PAIR_COLUMNS.length, (d + 1) * PAIR_COLUMNS.length];
  const [x, y] = [table.subarray(from, to), b[s]!.subarray(from, to)];
  return Math.max(...x.map((v, i) => Math.abs(v - y[i]!))) / Math.max(...x.map(Math.abs));
})));

function agree(t: Test, on: Training, off: Training, allowed: Case['apart']): void {
  t.ok(on.way > 0 && on.losses.length === STEPS && on.losses.every((l) => l.every(Number.isFinite)), 'it trained');
  if (allowed === 'bits') {
    t.same(on.losses, off.losses, 'losses and ledgers, bit for bit');
    t.same(on.weights, off.weights, 'weights, bit for bit');
    return;
  }
  const [l, w] = [worst(on.losses, off.losses), apart(on.weights, off.weights) / on.way];
  t.ok(l <= allowed.ledger && w <= allowed.weights, `${allowed.why}: ledgers apart by ${l.toExponential(1)}, allowed ${allowed.ledger.toExponential(1)}, weights by ${w.toExponential(1)} of their way, allowed ${allowed.weights}`);
  t.ok(l > 0 || w > 0, 'and not at all would be another path');
}

for (const [name, cases] of Object.entries(CASES) as Array<[keyof typeof CASES, Case | Case[]]>) {
  for (const c of [cases].flat()) {
    t.test(`${name}${c.mixed ? ', f16 matrices' : ''}: ${STEPS} steps with and without it agree`, async (t) => {
      if (c.mixed && typeof tile === 'string') return t.pass(`no subgroup matrices here: ${tile}`);
      const on = await training(c);
      t.ok(c.taken(on.recorded, on.made), `taken: ${FUSED_PATHS[name]}`);
      gpu.without.add(name);
      try {
        const off = await training(c);
        t.notOk(c.taken(off.recorded, off.made), 'not taken where it is off');
        agree(t, on, off, c.apart);
      } finally {
        gpu.without.delete(name);
      }
    });
  }
}

t.test('recorded anew for every step, or with layers made again in the backward pass: the same bits', async (t) => {
  const usual = await training({});
  const anew = await training({}, { anew: true });
  t.ok(anew.made >= (STEPS - 1) * usual.recorded.length, `${anew.made} bind groups were made`);
  agree(t, usual, anew, 'bits');
  for (const gradientCheckpointing of [true, 'mlp'] as const) agree(t, usual, await training({ options: { gradientCheckpointing } }), 'bits');
});

t.test(`late_reading: ${STEPS} steps of edpo train with and without it give the same bytes`, async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'edpo-paths-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const model = await tinyFolder(join(dir, 'model'));
  const data = tinyPairs(join(dir, 'train.jsonl'), 24);
  const run = async (name: string): Promise<{ order: string; files: string[]; without: unknown }> => {
    const out = join(dir, name);
    const { config } = loadConfig({ file: undefined, flags: { model_name_or_path: model, data_files: data, loss_type: 'epsilon_dpo', ref_mode: 'live', total_batch_size: '4', max_steps: String(STEPS), learning_rate: '1e-3', token_budget: '128', save_strategy: 'no', report_html: 'false', output_dir: out }, env: process.env, command: 'train' });
    let order = '';
    const { optimise } = Engine.prototype;
    Engine.prototype.optimise = function (this: Engine, o) {
      order += 'submit ';
      const read = optimise.call(this, o);
      return () => {
        order += 'read ';
        return read();
      };
    };
    try {
      await train(config, { ...createIo({ quiet: true }), out: () => undefined });
    } finally {
      Engine.prototype.optimise = optimise;
    }
    const manifest = JSON.parse(readFileSync(join(out, 'run.json'), 'utf8')) as { adapter: { without?: string[] } };
    return { order: order.trim(), files: ['model.safetensors', 'pairs.ndjson'].map((file) => readFileSync(join(out, file)).toString('hex')), without: manifest.adapter.without };
  };
  const on = await run('on');
  process.env['EDPO_WITHOUT'] = 'late_reading';
  try {
    const off = await run('off');
    t.equal(on.order, `submit ${'submit read '.repeat(STEPS - 1)}read`, 'each is read when the next one is on its way');
    t.equal(off.order, 'submit read '.repeat(STEPS).trim(), 'each is read at once');
    t.same(on.files, off.files, 'weights and ledger');
    t.same([on.without, off.without], [undefined, ['late_reading']], 'run.json says which paths are off');
  } finally {
    delete process.env['EDPO_WITHOUT'];
  }
});

t.test('a rate off by a thousandth would be seen', async (t) => {
  const [a, b] = [await training({}), await training({}, { lr: 1.001 * OPTIMISE.lr })];
  t.ok(apart(a.weights, b.weights) / a.way > 5 * ORDER.weights, `weights apart by ${(apart(a.weights, b.weights) / a.way).toExponential(1)} of their way`);
});

t.test('EDPO_WITHOUT takes names of paths; a cache made without one that orders a sum of the forward pass says so', (t) => {
  const usual = kernelFields(gpu).back_end;
  gpu.without = new Set(['replay', 'by_fours', 'adamw_copy', 'subgroup_sums']);
  t.equal(kernelFields(gpu).back_end, usual.replace(gpu.toggles, `without by_fours, subgroup_sums, ${gpu.toggles}`));
  gpu.without = new Set();
  t.same(pathsOff(undefined), new Set());
  t.same(pathsOff(' replay, by_fours,'), new Set(['replay', 'by_fours']));
  t.throws(() => pathsOff('replay,fours'), { message: /EDPO_WITHOUT names fours; expected some of attention_matrix, /, exitCode: 2 });
  t.end();
});
