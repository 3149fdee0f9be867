import { InputError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import type { Tensor } from '../gpu/tensor.js';
import { keyedUniform } from './data/order.js';
import { parameterSpecs, type ModelSpec, type ParameterSpec } from './families/spec.js';
import { Parameters, type Piece } from './parameters.js';

/** A run's adapters, or a folder's: y = x·Wᵀ + s·(x·Aᵀ)·Bᵀ on the weights `targets`, A [r, I], B [O, r]. */
export interface LoraSettings {
  r: number;
  alpha: number;
  /** s = α/√r (Kalajdzievski 2023, arXiv 2312.03732) instead of α/r. */
  rslora: boolean;
  /** Names of weights in the checkpoint, in the order of the forward pass. */
  targets: string[];
}

/** What the product of B and A is multiplied by. */
export const loraScale = ({ r, alpha, rslora }: Omit<LoraSettings, 'targets'>): number => alpha / (rslora ? Math.sqrt(r) : r);

const WEIGHT = '.weight';
/** `model.layers.0.self_attn.q_proj.weight` → its module, as PEFT names it. */
export const moduleOf = (weight: string): string => weight.slice(0, -WEIGHT.length);
/** Name of one of an adapter's two matrices in adapter_model.safetensors. */
export const adapterName = (weight: string, side: 'A' | 'B'): string => `base_model.model.${moduleOf(weight)}.lora_${side}.weight`;

/** The weights that may carry an adapter: every matrix inside a layer. */
export const adaptable = (spec: ModelSpec): ParameterSpec[] => parameterSpecs(spec).filter((p) => p.shape.length === 2 && !p.table && p.name.endsWith(WEIGHT));

/** PEFT's default targets (TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING of 0.21) of the families it has; another family's are all-linear. */
const DEFAULT_TARGETS: Record<string, string[]> = {
  ...Object.fromEntries(['llama', 'mistral', 'mixtral', 'qwen2', 'qwen3', 'gemma', 'gemma2', 'gemma3_text', 'stablelm', 'opt', 'gpt_neo', 'gptj'].map((family) => [family, ['q_proj', 'v_proj']])),
  phi: ['q_proj', 'v_proj', 'fc1', 'fc2'],
};

/**
 * The weights that `lora_target_modules` names, as PEFT matches names: the whole module path or its end after a dot; `all-linear` (also `all`)
 * takes every matrix of every layer.
 * @param modules PEFT's default for the family where absent
 * @throws InputError where a name matches nothing, saying what there is
 */
export function loraTargets(spec: ModelSpec, modules: string[] | undefined): string[] {
  const all = adaptable(spec).map((p) => p.name);
  const wanted = modules ?? DEFAULT_TARGETS[spec.modelType] ?? ['all-linear'];
  if (wanted.some((m) => m === 'all-linear' || m === 'all')) return all;
  const matches = (weight: string, name: string): boolean => moduleOf(weight) === name || moduleOf(weight).endsWith(`.${name}`);
  const lost = wanted.filter((name) => !all.some((weight) => matches(weight, name)));
  if (lost.length > 0 || wanted.length === 0) {
    const names = [...new Set(all.map((weight) => moduleOf(weight).split('.').at(-1)!))];
    throw new InputError(
      `lora_target_modules: ${wanted.length === 0 ? 'the list is empty' : `${lost.join(', ')} match${lost.length === 1 ? 'es' : ''} no matrix of this ${spec.modelType} model's layers`}; there are ${names.join(', ')}`,
      `--lora_target_modules ${names.slice(0, 2).join(',')}, or all-linear (embeddings and head take no adapter)`,
    );
  }
  return all.filter((weight) => wanted.some((name) => matches(weight, name)));
}

/** The tensors of these adapters, named as PEFT does: per target A [r, I], then B [O, r]. */
export function adapterSpecs(spec: ModelSpec, { r, targets }: Pick<LoraSettings, 'r' | 'targets'>): ParameterSpec[] {
  const shapes = new Map(adaptable(spec).map((p) => [p.name, p.shape as [number, number]]));
  return targets.flatMap((weight) => {
    const [O, I] = shapes.get(weight)!;
    return [{ name: adapterName(weight, 'A'), shape: [r, I], table: false }, { name: adapterName(weight, 'B'), shape: [O, r], table: false }];
  });
}

/** Numbers in all the adapters. */
export const adapterCount = (spec: ModelSpec, o: Pick<LoraSettings, 'r' | 'targets'>): number => adapterSpecs(spec, o).reduce((n, p) => n + p.shape[0]! * p.shape[1]!, 0);

/** Key of the random numbers of A, so that they are none of the data order's. */
const INIT_KEY = 0x10a4;

/**
 * Where an adapter begins, as PEFT has it: A uniform in ±1/√I (Kaiming's bound with a = √5), B zero, so that the first step's policy is the base.
 * Element i of the A on the model's n-th matrix comes of (seed, n, i) alone: the same whatever else is adapted.
 */
export function initialAdapter(spec: ModelSpec, weight: string, side: 'A' | 'B', shape: number[], seed: number): Float32Array {
  const out = new Float32Array(shape[0]! * shape[1]!);
  if (side === 'B') return out;
  const n = adaptable(spec).findIndex((p) => p.name === weight);
  const bound = 1 / Math.sqrt(shape[1]!);
  return out.map((_, i) => bound * (2 * keyedUniform(seed, INIT_KEY, n, i) - 1));
}

/** One adapter on the GPU. */
export interface Adapter {
  a: Piece;
  b: Piece;
  scale: number;
  /** The number of its matrix among those of the model. */
  matrix: number;
}

/** Scratch of one adapter at a time. */
export interface LoraScratch {
  /** Inner states [N, r]. */
  u: Tensor;
  /** Of a training run with dropout: a number per row [N], and room for an input whose elements fell, [N, I] of the widest. */
  dropout: { keys: Tensor; dropped: Tensor } | undefined;
}

/** All adapters of a model on the GPU; `parameters` holds their matrices under PEFT's names. */
export class Adapters {
  readonly parameters: Parameters;
  readonly rank: number;
  private readonly byWeight: Map<string, Adapter>;

  constructor(gpu: Gpu, readonly spec: ModelSpec, readonly settings: LoraSettings, trainable: boolean, /** Share of the elements of an adapter's input that fall in training. */ readonly dropout = 0) {
    this.parameters = new Parameters(gpu, spec, trainable, 'adapter', adapterSpecs(spec, settings));
    this.rank = settings.r;
    const scale = loraScale(settings);
    const matrices = adaptable(spec).map((p) => p.name);
    this.byWeight = new Map(settings.targets.map((weight) => [weight, { a: this.parameters.piece(adapterName(weight, 'A')), b: this.parameters.piece(adapterName(weight, 'B')), scale, matrix: matrices.indexOf(weight) }]));
  }

  /** The adapter on a weight, if it has one. */
  of(weight: string): Adapter | undefined {
    return this.byWeight.get(weight);
  }

  /** Fills them; `read` gives A or B of a weight, row-major. */
  async load(read: (weight: string, side: 'A' | 'B', shape: number[]) => Float32Array): Promise<void> {
    const values = new Map(this.settings.targets.flatMap((weight) => (['A', 'B'] as const).map((side) => [adapterName(weight, side), [weight, side] as const] as const)));
    await this.parameters.load((p) => read(...values.get(p.name)!, p.shape));
  }
}
