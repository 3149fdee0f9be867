import { freemem } from 'node:os';
import type { RunConfig } from '../config/keys.js';
import { EdpoError, InputError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import { Program } from '../gpu/program.js';
import type { Engine } from './engine.js';
import type { CliIo } from '../cli/io.js';
import { HEAD_TILE } from '../gpu/ops/head.js';
import type { ParameterSpec } from './families/spec.js';
import type { FloatFormat } from './files/float_formats.js';
import type { LossDefinition } from './losses/types.js';
import { trainingMemory, type LoraMemory } from './memory_advice.js';
import { requireMemory } from './memory_changes.js';
import { bytesText } from './reference.js';
import { longestRows, type Inputs } from './session.js';
import { stepScale, submitDocuments } from './train/batches.js';
import type { DocumentSource, ReferenceSource } from './train/types.js';

/** Budgets are multiples of this, but for the longest document's. */
const STEP = 64;
/** What a software adapter, which lives in the machine's memory, may take of what is free. */
const SHARE_OF_FREE = 0.6;

/** Bytes a run may take on the GPU: `gpu_memory`, or what is free of the machine's memory where that is the GPU's. WebGPU does not say what a card has. */
export function memoryLimit(config: Pick<RunConfig, 'gpu_memory'>, gpu: Gpu): number {
  if (config.gpu_memory !== undefined) return config.gpu_memory * 1e9;
  if (gpu.kind !== 'hardware') return freemem() * SHARE_OF_FREE;
  throw new InputError('token_budget auto needs to know how much memory the GPU has, which WebGPU does not say', '--gpu_memory GB (of 1e9 bytes), less what other programs hold there');
}

/** Rows of the longest document and of the largest step: no more ever stand in a micro-batch. */
export function rowBounds(source: DocumentSource, batch: number): { longest: number; step: number } {
  const rows = Array.from({ length: source.count }, (_, i) => longestRows(source, i)).sort((a, b) => b - a);
  return { longest: rows[0] ?? 2, step: rows.slice(0, batch).reduce((a, b) => a + b, 0) };
}

/**
 * The largest budget whose plan fits `limit`, at most what a step can use.
 * @param total planned bytes at so many rows
 * @param widest the largest width of a row of any tensor, whose buffer must fit the adapter's binding
 */
export function largestBudget(total: (rows: number) => number, bounds: { longest: number; step: number }, limit: number, o: { bindingBytes: number; widest: number }): number {
  const most = Math.min(Math.ceil(bounds.step / STEP) * STEP, Math.floor(o.bindingBytes / (4 * o.widest)));
  let budget = bounds.longest;
  // Planned bytes rise with the rows, but for the head's tile, which narrows now and then by less than it takes: the first that does not fit ends the search.
  for (let rows = Math.ceil(bounds.longest / STEP) * STEP; rows <= most && total(rows) <= limit; rows += STEP) budget = rows;
  return budget;
}

/** `token_budget: auto` of a run: the largest budget that fits, which holds the longest document of every source. */
export function chooseBudget(gpu: Gpu, config: RunConfig, { policy }: Inputs, loss: LossDefinition, lora: LoraMemory, sources: DocumentSource[], batch: number, io: CliIo): number {
  const { spec } = policy;
  const files: (p: ParameterSpec) => FloatFormat = (p) => policy.formatOf(p);
  const limit = memoryLimit(config, gpu);
  const bounds = sources.map((x) => rowBounds(x, batch));
  const longest = Math.max(...bounds.map((b) => b.longest));
  const widest = Math.max(spec.D, spec.F, spec.H * spec.C, HEAD_TILE, 32);
  const total = (rows: number): number => trainingMemory(spec, loss, config, lora, rows, files, gpu).total;
  const budget = largestBudget(total, { longest, step: bounds[0]!.step }, limit, { bindingBytes: gpu.limits.bindingBytes, widest });
  io.say(`token_budget auto: ${budget} rows, planned ${bytesText(total(budget))} of ${bytesText(limit)}`);
  if (total(budget) > limit) requireMemory({ spec, loss, config: { ...config, gpu_memory: limit / 1e9, token_budget: budget }, lora, longest, files }, trainingMemory(spec, loss, config, lora, budget, files, gpu));
  return budget;
}

/**
 * Runs the `batch` longest documents forward and backward before the first step: what would run out of memory or time does so now. Nothing is moved by it: its
 * gradients and counts are cleared.
 */
export async function dryRun(engine: Engine, source: DocumentSource, reference: ReferenceSource, batch: number): Promise<number> {
  const { capacity, loss, gpu } = engine.options;
  const order = Array.from({ length: source.count }, (_, i) => i).sort((a, b) => longestRows(source, b) - longestRows(source, a) || a - b);
  const taken = order.slice(0, batch);
  try {
    await (await submitDocuments(engine, source, reference, taken, { ...stepScale(source, taken, loss.needs), train: true, draw: [0] }))();
    await gpu.device.queue.onSubmittedWorkDone();
    gpu.check();
  } catch (error) {
    throw new EdpoError(`the dry step on the ${taken.length} longest documents failed: ${(error as Error).message}`, { cause: error, hint: `--token_budget ${Math.max(longestRows(source, order[0]!), Math.floor(capacity.rows / 2))}, or a smaller --gpu_memory` });
  }
  const clear = new Program(gpu, 'after the dry step');
  engine.clearGradients(clear);
  clear.clear(engine.stepCounts);
  await clear.submit();
  return taken.length;
}
