import type { Gpu } from '../src/gpu/device.js';
import type { MatrixTile } from '../src/gpu/matrices.js';
import { documentRows, planMicroBatches, type Document } from '../src/model/batch/pack.js';
import { keyedUniform } from '../src/model/data/order.js';
import { Engine } from '../src/model/engine.js';
import type { ReferencePlan } from '../src/model/engine_types.js';
import { parameterSpecs, type ModelSpec, type ParameterSpec } from '../src/model/families/spec.js';
import { decode16, encode16 } from '../src/model/files/float_formats.js';
import { losses } from '../src/model/losses/index.js';
import { Parameters } from '../src/model/parameters.js';
import { documentsOfPair, type PairIds } from './peers_tokens.js';
import { OPTIMISE } from './step_setup.js';

export interface PeerCase {
  gpu: Gpu;
  spec: ModelSpec;
  pairs: PairIds[];
  /** Pairs of an optimiser step; token rows of a micro-batch at most. */
  perStep: number;
  budget: number;
  warm: number;
  steps: number;
  /** Fewer steps where these take longer. */
  seconds: number;
  dtype: 'float32' | 'mixed_f16';
  method: 'sigmoid' | 'epsilon_dpo';
  /** The prompt's rows once for both responses, or once for each. */
  shared: boolean;
}

export interface PeerFigures {
  steps: number;
  seconds: number;
  pairs_per_second: number;
  useful_tokens_per_second: number;
  setup_s: number;
  first_step_s: number;
  time_to_first_step_s: number;
  peak_bytes: number;
  peak_of: string;
  rows: number;
  /** A step, on the mean. */
  micro_batches: number;
  /** Steps, the warm-up's included, whose gradients were not finite: a wrong figure if there are any beyond the first. */
  skipped_steps: number;
  reference: string;
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

/** What a reference cache gives for these documents: numbers of the right size and layout, read from no disk. */
function cachedRows(documents: Document[], { D, V }: ModelSpec, states: boolean, rounded: boolean): { logps: Float32Array; hidden?: Float32Array } {
  const scored = documents.reduce((n, d) => n + d.branches.reduce((m, b) => m + b.length, 0), 0);
  const logps = noise(scored, 1, 0.1).map((x) => x - Math.log(V));
  if (!states) return { logps };
  const hidden = noise(scored * D, 3, 1);
  return { logps, hidden: rounded ? decode16(encode16(hidden, 'F16'), 'F16') : hidden };
}

/**
 * Times optimiser steps as `train` makes them: packed micro-batches within the budget, read-back one step late, the reference from a cache (log-probs; for ε-DPO hidden states
 * and the frozen head). Without prefix sharing a pair is two documents under a loss of single responses with the same terms (APO-zero), and for ε-DPO the criterion's columns beside
 * it: the same rows run and are scored.
 */
export async function measurePeer(c: PeerCase, tile: MatrixTile | undefined): Promise<PeerFigures> {
  const { gpu, spec, shared } = c;
  if (c.dtype === 'mixed_f16') gpu.mixed = tile;
  const states = c.method === 'epsilon_dpo';
  const rounded = states && c.dtype === 'mixed_f16';
  const plan = stepPlan(c);
  const rows = Math.max(...plan.flat().map((m) => m.documents.reduce((n, d) => n + documentRows(d), 0)));
  const sequences = Math.max(...plan.flat().map((m) => m.documents.reduce((n, d) => n + d.branches.length, 0)));
  const specs = parameterSpecs(spec);
  const head = specs.filter((p) => p.name === (spec.tied ? spec.names.embed : spec.names.head));

  const policy = await randomWeights(gpu, spec, specs, true, 'policy');
  const reference: ReferencePlan = { kind: 'cache', rounded, ...(states ? { head: await randomWeights(gpu, spec, head, false, 'reference') } : {}) };
  const started = performance.now();
  const engine = await new Engine({
    gpu, policy, reference, training: true, capacity: { rows, sequences }, loss: shared ? losses[c.method] : losses.apo_zero_unpaired,
    settings: { beta: 0.1, epsilonCheck: 0.01, epsilonSize: 0.01, criterion: 'exact', deadzone: 0, betaUpdate: 'harmonic', betaMin: 0, params: shared ? { label_smoothing: 0 } : {}, criterionColumns: states && !shared },
  }).ready();
  engine.setState(0.1);
  await gpu.device.queue.onSubmittedWorkDone();
  const ready = performance.now();

  const documentsOfStep = c.perStep * (shared ? 1 : 2);
  let [first, from, micros, steps] = [0, 0, 0, 0];
  let pending: Array<() => Promise<unknown>> = [];
  let skipped = 0;
  const finish = async (): Promise<void> => {
    for (const read of pending) {
      const result = await read();
      if (typeof result === 'object' && result !== null && 'skipped' in result && result.skipped) skipped++;
    }
    pending = [];
  };
  for (const [i, micro] of plan.entries()) {
    // Step 1 and the step before the timed ones end with an empty queue; otherwise a step is read after the next is on its way.
    const next: Array<() => Promise<unknown>> = micro.map((m) => engine.microBatch(m.documents, m.reference, 1 / documentsOfStep, true));
    next.push(engine.optimise(OPTIMISE));
    await finish();
    pending = next;
    const last = i === plan.length - 1 || (i >= c.warm && performance.now() - from > 1000 * c.seconds);
    if (i === 0 || i === c.warm - 1 || last) await finish();
    if (i === 0) first = performance.now();
    if (i === c.warm - 1) from = performance.now();
    if (i >= c.warm) [micros, steps] = [micros + micro.length, steps + 1];
    if (last) break;
  }
  const seconds = (performance.now() - from) / 1000;
  const timed = Array.from({ length: steps * c.perStep }, (_, i) => c.pairs[(c.warm * c.perStep + i) % c.pairs.length]!);
  const tokens = timed.reduce((n, p) => n + p.prompt_ids.length + p.chosen_ids.length + p.rejected_ids.length, 0);
  return {
    steps, seconds, pairs_per_second: timed.length / seconds, useful_tokens_per_second: tokens / seconds,
    setup_s: (ready - started) / 1000, first_step_s: (first - ready) / 1000, time_to_first_step_s: (first - started) / 1000,
    peak_bytes: gpu.bytesPeak, peak_of: 'GPU buffers', rows, micro_batches: micros / steps, skipped_steps: skipped, reference: 'cache',
  };
}

/** Micro-batches of every step, with what the cache gives for each. */
function stepPlan(c: PeerCase): Array<Array<{ documents: Document[]; reference: { logps: Float32Array; hidden?: Float32Array } }>> {
  const states = c.method === 'epsilon_dpo';
  return Array.from({ length: c.warm + c.steps }, (_, step) => {
    const documents = Array.from({ length: c.perStep }, (_, i) => step * c.perStep + i).flatMap((at) => documentsOfPair(c.pairs[at % c.pairs.length]!, at, c.shared));
    const sizes = documents.map((d) => ({ rows: documentRows(d), sequences: d.branches.length, id: d.id }));
    return planMicroBatches(sizes, { rows: c.budget, sequences: 2 * c.perStep }).map((items) => {
      const own = items.map((i) => documents[i]!);
      return { documents: own, reference: cachedRows(own, c.spec, states, states && c.dtype === 'mixed_f16') };
    });
  });
}
