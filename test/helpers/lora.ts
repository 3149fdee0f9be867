import { readFileSync } from 'node:fs';
import { PAIR_COLUMNS } from '../../src/gpu/ops/document_loss.js';
import type { Gpu } from '../../src/gpu/device.js';
import type { ModelSpec } from '../../src/model/families/index.js';
import type { Document } from '../../src/model/batch/pack.js';
import { adapterName, adapterSpecs, Adapters, loraScale, type LoraSettings } from '../../src/model/lora.js';
import type { Parameters } from '../../src/model/parameters.js';
import { Scorer } from '../../src/model/scorer.js';
import { loadParameters } from './engine.js';
import { normals } from './rng.js';

export type Weights = Record<string, Float32Array>;
export type Numbers = Record<string, ArrayLike<number>>;

/** The base frozen on the GPU and a view of it with adapters of these values. */
export async function adapted(gpu: Gpu, spec: ModelSpec, base: Weights, settings: LoraSettings, values: Weights, dropout = 0): Promise<{ base: Parameters; policy: Parameters }> {
  const frozen = await loadParameters(gpu, spec, base, false);
  const adapters = new Adapters(gpu, spec, settings, true, dropout);
  await adapters.load((weight, side) => values[adapterName(weight, side)]!);
  return { base: frozen, policy: frozen.with(adapters) };
}

/** W + s·B·A of every target in f64 (plain loops), the rest as it is. */
export function merged(base: Numbers, settings: LoraSettings, values: Numbers): Record<string, Float64Array> {
  const out = Object.fromEntries(Object.entries(base).map(([n, w]) => [n, Float64Array.from(w)]));
  for (const weight of settings.targets) {
    const [a, b, w] = [values[adapterName(weight, 'A')]!, values[adapterName(weight, 'B')]!, out[weight]!];
    const I = a.length / settings.r;
    for (let o = 0; o < b.length / settings.r; o++) for (let i = 0; i < I; i++) for (let k = 0; k < settings.r; k++) w[o * I + i]! += loraScale(settings) * b[o * settings.r + k]! * a[k * I + i]!;
  }
  return out;
}
export const toF32 = (w: Record<string, Float64Array>): Weights => Object.fromEntries(Object.entries(w).map(([n, v]) => [n, Float32Array.from(v)]));
export const randomAdapters = (spec: ModelSpec, settings: LoraSettings, seed: number, size = 0.2): Weights => Object.fromEntries(adapterSpecs(spec, settings).map((p, i) => [p.name, normals(seed * 100 + i, p.shape[0]! * p.shape[1]!, size)]));

/** Log-probs of every response token, and the states that predict them. */
export async function score(model: Parameters, documents: Document[]): Promise<{ logps: Float32Array; hidden: Float32Array }> {
  const scorer = await new Scorer(model.gpu, model, { rows: 256, sequences: 32 }, true).ready();
  const { logps, hidden } = await scorer.submit(documents)();
  return { logps: logps.slice(), hidden: hidden!.slice() };
}
/** A column of the pairs' table, a number a pair. */
export const column = (table: Float32Array, name: (typeof PAIR_COLUMNS)[number]): number[] =>
  Array.from({ length: table.length / PAIR_COLUMNS.length }, (_, i) => table[i * PAIR_COLUMNS.length + PAIR_COLUMNS.indexOf(name)]!);

/** A case of PEFT's goldens (test/goldens/make_lora.py). */
interface Case { config: Record<string, unknown>; names: string[]; shapes: number[][]; adapter_config: { r: number; lora_alpha: number; use_rslora: boolean; target_modules: string[]; modules_to_save: string[] | null }; tensors: Record<string, number[]>; logits: number[][]; policy: number[][]; reference: number[][]; loss: number; gradients: Array<[number, number]> }
export const golden = JSON.parse(readFileSync('test/goldens/lora.json', 'utf8')) as { beta: number; sequences: number[][]; pairs: Array<{ prompt: number[]; chosen: number[]; rejected: number[] }>; cases: Record<string, Case> };
/** Elements of a shape. */
export const product = (shape: number[]): number => shape.reduce((a, b) => a * b, 1);
