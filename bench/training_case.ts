import { EdpoError, InputError } from '../src/errors.js';
import type { Gpu } from '../src/gpu/device.js';
import { matrixTile } from '../src/gpu/matrices.js';
import type { HeadTiles } from '../src/gpu/ops/kept_tiles.js';
import { documentRows, planMicroBatches, type Document } from '../src/model/batch/pack.js';
import { keyedUniform } from '../src/model/data/order.js';
import { Engine } from '../src/model/engine.js';
import type { ReferencePlan, ReferenceRows } from '../src/model/engine_types.js';
import { parameterSpecs, type ModelSpec, type ParameterSpec } from '../src/model/families/spec.js';
import { decode16, encode16 } from '../src/model/files/float_formats.js';
import { Adapters, loraTargets } from '../src/model/lora.js';
import type { LossDefinition } from '../src/model/losses/types.js';
import { Parameters } from '../src/model/parameters.js';
import { OPTIMISE } from './step_setup.js';

export const DTYPES = ['float32', 'mixed_f16'] as const;
export type Dtype = (typeof DTYPES)[number];

/** Optimiser steps on random weights and given documents. */
export interface TrainingWork {
  gpu: Gpu;
  spec: ModelSpec;
  loss: LossDefinition;
  params: Record<string, number>;
  /** The criterion's columns beside a loss that does not ask for them. */
  criterionColumns?: boolean;
  /** `live`: the reference runs in every micro-batch. */
  reference: 'cached' | 'live';
  dtype: Dtype;
  /** Logits kept for the backward pass, or made again (where absent). */
  headTiles?: HeadTiles;
  /** Trains adapters of this rank on every matrix of the layers, the weights frozen; the weights in full where absent or 0. */
  loraRank?: number;
  /** Documents of every optimiser step. */
  steps: Document[][];
  /** Token rows of a micro-batch at most. */
  budget: number;
}

interface MicroBatch { documents: Document[]; rows: ReferenceRows | undefined }

export interface TrainingCase {
  engine: Engine;
  /** Micro-batches of every step. */
  plan: MicroBatch[][];
  /** Rows and sequences a micro-batch may hold. */
  capacity: { rows: number; sequences: number };
  /** From the weights on the GPU to an engine that is ready. */
  setupMs: number;
  /** Submits step i as `train` does; the functions wait for what it reads back, the optimiser's record last. */
  submit(i: number): Array<() => Promise<unknown>>;
}

const TABLE = Float32Array.from({ length: 1 << 20 }, (_, i) => 2 * keyedUniform(9, i) - 1);
/** Uniform numbers in (-most, most): a table read again and again, since a seeded draw for each weight of a model of 2 B would take minutes. */
function noise(length: number, start: number, most: number): Float32Array {
  const out = new Float32Array(length);
  for (let i = 0; i < length; i++) out[i] = TABLE[(start + i) & (TABLE.length - 1)]! * most;
  return out;
}

/** Weights of the size of transformers' own start: 0.02, gains 1 (or 0 where they are stored less 1). */
async function randomWeights(gpu: Gpu, spec: ModelSpec, specs: ParameterSpec[], trainable: boolean, label: string): Promise<Parameters> {
  const parameters = new Parameters(gpu, spec, trainable, label, specs);
  const gain = 1 - spec.block.norm.offset;
  await parameters.load((p, first, rows) => {
    const width = p.shape[1] ?? 1;
    if (p.shape.length === 1) return new Float32Array(rows).fill(p.name.endsWith('bias') ? 0 : gain);
    return noise(rows * width, first * width + 7919 * specs.indexOf(p), 0.02 * Math.sqrt(3));
  });
  return parameters;
}

/** Adapters on every matrix of the layers, A and B of the size of weights. */
async function randomAdapters(gpu: Gpu, spec: ModelSpec, r: number): Promise<Adapters> {
  const adapters = new Adapters(gpu, spec, { r, alpha: 2 * r, rslora: false, targets: loraTargets(spec, ['all-linear']) }, true);
  await adapters.load((weight, side, shape) => noise(shape.reduce((n, x) => n * x, 1), 31 * weight.length + side.charCodeAt(0), 0.02 * Math.sqrt(3)));
  return adapters;
}

/** What a reference cache gives for these documents: numbers of the right size and layout, read from no disk. */
function cachedRows(documents: Document[], { D, V }: ModelSpec, states: boolean, rounded: boolean): ReferenceRows {
  const scored = documents.reduce((n, d) => n + d.branches.reduce((m, b) => m + b.length, 0), 0);
  const logps = noise(scored, 1, 0.1).map((x) => x - Math.log(V));
  if (!states) return { logps };
  const hidden = noise(scored * D, 3, 1);
  return { logps, hidden: rounded ? decode16(encode16(hidden, 'F16'), 'F16') : hidden };
}

/** Sets the arithmetic. @throws EdpoError where the adapter multiplies no f16 matrices */
export function useBenchDtype(gpu: Gpu, dtype: Dtype): void {
  if (dtype !== 'mixed_f16') return;
  const tile = matrixTile(gpu);
  if (typeof tile === 'string') throw new EdpoError(`"${gpu.name}" does not multiply f16 matrices: ${tile}`, { hint: '--dtype float32', exitCode: 2 });
  gpu.mixed = tile;
}

/** Fills random weights, packs every step and builds the engine: the reference from a cache (log-probs; hidden states and the frozen head where the method needs them) or live. */
export async function trainingCase(w: TrainingWork): Promise<TrainingCase> {
  const { gpu, spec, loss } = w;
  useBenchDtype(gpu, w.dtype);
  const needs = loss.needs.reference;
  const states = needs === 'hidden' || w.criterionColumns === true;
  const cached = w.reference === 'cached' && needs !== 'none';
  const rounded = cached && states && w.dtype === 'mixed_f16';
  const longest = w.steps.flat().reduce((n, d) => Math.max(n, documentRows(d)), 0);
  if (longest > w.budget) throw new InputError(`a pair takes ${longest} rows, more than a micro-batch of ${w.budget}`, `--budget ${longest}`);
  const plan = w.steps.map((documents) => {
    const sizes = documents.map((d) => ({ rows: documentRows(d), sequences: d.branches.length, id: d.id }));
    return planMicroBatches(sizes, { rows: w.budget, sequences: sizes.reduce((n, s) => n + s.sequences, 0) }).map((items): MicroBatch => {
      const own = items.map((i) => documents[i]!);
      return { documents: own, rows: cached ? cachedRows(own, spec, states, rounded) : undefined };
    });
  });
  const most = (of: (d: Document) => number): number => Math.max(...plan.flat().map((m) => m.documents.reduce((n, d) => n + of(d), 0)));
  const capacity = { rows: most(documentRows), sequences: most((d) => d.branches.length) };
  const specs = parameterSpecs(spec);
  const head = specs.filter((p) => p.name === (spec.tied ? spec.names.embed : spec.names.head));
  const weights = await randomWeights(gpu, spec, specs, !w.loraRank, 'policy');
  const policy = w.loraRank ? weights.with(await randomAdapters(gpu, spec, w.loraRank)) : weights;
  const reference: ReferencePlan = needs === 'none' ? { kind: 'none' }
    : !cached ? { kind: 'live', parameters: await randomWeights(gpu, spec, specs, false, 'reference') }
    : { kind: 'cache', rounded, ...(states ? { head: await randomWeights(gpu, spec, head, false, 'reference') } : {}) };
  const started = performance.now();
  const engine = await new Engine({
    gpu, policy, reference, training: true, capacity, loss, ...(w.headTiles ? { headTiles: w.headTiles } : {}),
    settings: { beta: 0.1, epsilonCheck: 0.01, epsilonSize: 0.01, criterion: 'exact', deadzone: 0, betaUpdate: 'harmonic', betaMin: 0, params: w.params, criterionColumns: w.criterionColumns === true },
  }).ready();
  engine.setState(0.1);
  await gpu.device.queue.onSubmittedWorkDone();
  const setupMs = performance.now() - started;
  const submit = (i: number): Array<() => Promise<unknown>> => {
    const documents = w.steps[i]!;
    const chosen = documents.reduce((n, d) => n + d.branches[0]!.length, 0);
    return [...plan[i]!.map((m) => engine.microBatch(m.documents, m.rows, 1 / documents.length, true, documents.length / chosen)), engine.optimise(OPTIMISE)];
  };
  return { engine, plan, capacity, setupMs, submit };
}

/**
 * Runs all steps as `train` does, each read back after the next is on its way. Milliseconds from one step's end to the next's, without the first
 * `warm` ones; the queue is empty before the first that counts. `hostMs` gets what submitting each took.
 */
export async function timeSteps(c: TrainingCase, warm: number, hostMs: number[] = []): Promise<number[]> {
  const times: number[] = [];
  let pending: Array<() => Promise<unknown>> = [];
  let from = 0;
  const finish = async (counts: boolean): Promise<void> => {
    if (pending.length === 0) return;
    for (const read of pending.splice(0)) await read();
    const now = performance.now();
    if (counts) times.push(now - from);
    from = now;
  };
  for (let i = 0; i < c.plan.length; i++) {
    const before = performance.now();
    const next = c.submit(i);
    if (i >= warm) hostMs.push(performance.now() - before);
    await finish(i - 1 >= warm);
    pending = next;
    if (i === warm - 1 || i === c.plan.length - 1) await finish(i >= warm);
    if (i === warm - 1) from = performance.now();
  }
  return times;
}
