import { InputError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import type { Tensor } from '../gpu/tensor.js';
import { keyedUniform } from './data/order.js';
import { parameterSpecs, type ModelSpec, type ParameterSpec, type StoredAs } from './families/spec.js';
import { joinStored, readStored } from './files/stored.js';
import { Parameters, type Parameter, type Piece } from './parameters.js';

/** A run's adapters, or a folder's: y = x·Wᵀ + s·(x·Aᵀ)·Bᵀ on the weights `targets`, A [r, I], B [O, r]. */
export interface LoraSettings {
  r: number;
  alpha: number;
  /** s = α/√r (Kalajdzievski 2023, arXiv 2312.03732) instead of α/r. */
  rslora: boolean;
  /** Names of matrices as AutoModelForCausalLM has them (a fused one is one), in the order of the forward pass. */
  targets: string[];
  /** Names of tensors trained in full beside them (PEFT's modules_to_save), so too; absent where there are none. */
  saved?: string[];
}
/** One of an adapter's matrices, or a tensor trained in full. */
export type AdapterSide = 'A' | 'B' | 'saved';

/** Is a tensor of this name one of an adapter's two matrices, rather than one trained in full? */
export const isAdapterMatrix = (name: string): boolean => /\.lora_[AB]\.weight$/.test(name);

/** What the product of B and A is multiplied by. */
export const loraScale = ({ r, alpha, rslora }: Pick<LoraSettings, 'r' | 'alpha' | 'rslora'>): number => alpha / (rslora ? Math.sqrt(r) : r);

const WEIGHT = '.weight';
/** `model.layers.0.self_attn.q_proj.weight` (or its bias) → its module, as PEFT names it. */
export const moduleOf = (tensor: string): string => tensor.slice(0, tensor.lastIndexOf('.'));
/** Name in adapter_model.safetensors of one of an adapter's two matrices, or of a tensor trained in full. */
export const adapterName = (weight: string, side: AdapterSide): string => (side === 'saved' ? `base_model.model.${weight}` : `base_model.model.${moduleOf(weight)}.lora_${side}.weight`);

/** The matrix that a parameter is, or is a part of: the name of it in the whole model, also where the files are those of a bare decoder. */
function matrixOf({ stored, prefix, names }: ModelSpec, parameter: string): string {
  const name = stored?.[parameter]?.name ?? parameter;
  return prefix !== undefined && name !== names.head && !name.startsWith(prefix) ? prefix + name : name;
}

/** The parameters that may carry an adapter: every matrix inside a layer. */
const matrices = (spec: ModelSpec): ParameterSpec[] => parameterSpecs(spec).filter((p) => p.shape.length === 2 && !p.table && p.name !== spec.names.positions && p.name.endsWith(WEIGHT));

/** Is this parameter, or the fused matrix it is a part of, among an adapter's targets? */
export const isTarget = (spec: ModelSpec, targets: string[], parameter: string): boolean => targets.includes(matrixOf(spec, parameter));

/** The matrices that may carry an adapter, [O, I]: every one inside a layer; what the checkpoint has fused is one matrix. */
export function adaptable(spec: ModelSpec): ParameterSpec[] {
  const list = new Map<string, ParameterSpec>();
  for (const p of matrices(spec)) list.set(matrixOf(spec, p.name), { name: matrixOf(spec, p.name), shape: [spec.stored?.[p.name]?.rows ?? p.shape[0]!, p.shape[1]!], table: false });
  return [...list.values()];
}

/** PEFT's default targets (TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING of 0.21) of the families it has; another family's are all-linear. */
const DEFAULT_TARGETS: Record<string, string[]> = {
  ...Object.fromEntries(['llama', 'mistral', 'mixtral', 'qwen2', 'qwen3', 'gemma', 'gemma2', 'gemma3_text', 'stablelm', 'opt', 'gpt_neo', 'gptj'].map((family) => [family, ['q_proj', 'v_proj']])),
  phi: ['q_proj', 'v_proj', 'fc1', 'fc2'],
  gpt2: ['c_attn'],
  gpt_neox: ['query_key_value'],
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

/**
 * The tensors that `lora_modules_to_save` names: every one of the modules whose path ends with a name, as PEFT matches them ("norm" is also
 * "input_layernorm").
 * @param targets weights with adapters, which cannot be trained in full too
 * @throws InputError where a name matches nothing, or something that cannot be trained by itself
 */
export function savedTensors(spec: ModelSpec, modules: string[], targets: string[]): string[] {
  const all = parameterSpecs(spec).map((p) => ({ parameter: p.name, name: matrixOf(spec, p.name) }));
  const matched = (module: string) => all.filter(({ name }) => moduleOf(name).endsWith(module));
  const hint = 'leave it out of --lora_modules_to_save';
  const lost = modules.filter((m) => m === '' || matched(m).length === 0);
  if (lost.length > 0) {
    const ends = [...new Set(all.map(({ name }) => moduleOf(name).split('.').at(-1)!))];
    const head = spec.tied && lost.some((m) => spec.names.head === `${m}.weight`);
    throw new InputError(`lora_modules_to_save: ${lost.join(', ')} match${lost.length === 1 ? 'es' : ''} no module of this ${spec.modelType} model${head ? ', whose head is its embedding' : ''}; there are ${ends.join(', ')}`, hint);
  }
  const found = all.filter(({ name }) => modules.some((m) => moduleOf(name).endsWith(m)));
  for (const { parameter, name } of found) {
    const why = targets.includes(name) ? 'has an adapter; it cannot be trained in full too'
      : spec.stored?.[parameter] ? 'is fused or transposed in the checkpoint; such a tensor takes adapters only'
        : spec.tied && parameter === spec.names.embed ? 'is embedding and head in one, and PEFT would part them' : undefined;
    if (why) throw new InputError(`lora_modules_to_save: ${moduleOf(name)} ${why}`, hint);
  }
  return found.map(({ name }) => name);
}

/** The tensors trained in full, as they lie in the adapter's file. */
function savedSpecs(spec: ModelSpec, saved: string[] | undefined): ParameterSpec[] {
  if (!saved) return [];
  return parameterSpecs(spec).filter((p) => saved.includes(matrixOf(spec, p.name))).map((p) => ({ ...p, name: adapterName(matrixOf(spec, p.name), 'saved') }));
}

/** The name in the adapter's settings of a parameter that is trained in full; undefined where it is not. */
export const savedOf = (spec: ModelSpec, { saved }: Pick<LoraSettings, 'saved'>, parameter: string): string | undefined => (saved?.includes(matrixOf(spec, parameter)) ? matrixOf(spec, parameter) : undefined);

/** Name of the B of a parameter: PEFT's, or that of a part of PEFT's. */
const partName = (spec: ModelSpec, parameter: string): string => adapterName(spec.stored?.[parameter] ? parameter : matrixOf(spec, parameter), 'B');

/**
 * The tensors as they lie on the GPU: a fused matrix has one A, and a B for each of its parts, because the parts' products are apart; `stored` says which rows of
 * PEFT's B those are.
 */
export function adapterParameters(spec: ModelSpec, { r, targets, saved }: Pick<LoraSettings, 'r' | 'targets' | 'saved'>): { list: ParameterSpec[]; stored: Record<string, StoredAs> } {
  const stored: Record<string, StoredAs> = {};
  const list = new Map<string, ParameterSpec>();
  for (const p of matrices(spec)) {
    const weight = matrixOf(spec, p.name);
    if (!targets.includes(weight)) continue;
    const [a, b] = [adapterName(weight, 'A'), partName(spec, p.name)];
    list.set(a, { name: a, shape: [r, p.shape[1]!], table: false });
    list.set(b, { name: b, shape: [p.shape[0]!, r], table: false });
    const s = spec.stored?.[p.name];
    if (s) stored[b] = { ...s, name: adapterName(weight, 'B'), transposed: false };
  }
  return { list: [...list.values(), ...savedSpecs(spec, saved)], stored };
}

/** A [r, I] and rows of B [O, r] of a parameter, if it has an adapter; `read` gives whole tensors as PEFT has them. */
export function adapterOf(spec: ModelSpec, { r, targets }: LoraSettings, parameter: string, read: (weight: string, side: 'A' | 'B') => Float32Array, first = 0, rows?: number): { a: Float32Array; b: Float32Array } | undefined {
  const weight = matrixOf(spec, parameter);
  if (!targets.includes(weight)) return undefined;
  const { list, stored } = adapterParameters(spec, { r, targets: [weight] });
  const b = list.find((p) => p.name === partName(spec, parameter))!;
  return { a: read(weight, 'A'), b: readStored({ stored }, b, (q, from = 0, n = q.shape[0]!) => read(weight, 'B').subarray(from * r, (from + n) * r), first, rows) };
}

/** The tensors of these adapters, named as PEFT does: per target A [r, I], then B [O, r]; then what is trained in full. */
export function adapterSpecs(spec: ModelSpec, { r, targets, saved }: Pick<LoraSettings, 'r' | 'targets' | 'saved'>): ParameterSpec[] {
  const shapes = new Map(adaptable(spec).map((p) => [p.name, p.shape as [number, number]]));
  return [...targets.flatMap((weight) => {
    const [O, I] = shapes.get(weight)!;
    return [{ name: adapterName(weight, 'A'), shape: [r, I], table: false }, { name: adapterName(weight, 'B'), shape: [O, r], table: false }];
  }), ...savedSpecs(spec, saved)];
}

/** Numbers in all the adapters and the tensors trained in full. */
export const adapterCount = (spec: ModelSpec, o: Pick<LoraSettings, 'r' | 'targets' | 'saved'>): number => adapterSpecs(spec, o).reduce((n, p) => n + p.shape.reduce((a, b) => a * b, 1), 0);

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
  /** The number of its matrix among those of the model; parts of a fused one have the same. */
  matrix: number;
}

/** Scratch of one adapter at a time. */
export interface LoraScratch {
  /** Inner states [N, r]; in mixed precision a name alone, and the operand they stand as. */
  u: Tensor;
  packed: Tensor | undefined;
  /** Of a training run with dropout: a number per row [N], and room for an input whose elements fell, [N, I] of the widest. */
  dropout: { keys: Tensor; dropped: Tensor } | undefined;
}

/** All adapters of a model on the GPU; `parameters` holds their matrices under PEFT's names, but for parts of a fused B. */
export class Adapters {
  readonly parameters: Parameters;
  readonly rank: number;
  private readonly byParameter: Map<string, Adapter>;

  constructor(gpu: Gpu, readonly spec: ModelSpec, readonly settings: LoraSettings, trainable: boolean, /** Share of the elements of an adapter's input that fall in training. */ readonly dropout = 0) {
    this.parameters = new Parameters(gpu, spec, trainable, 'adapter', adapterParameters(spec, settings).list);
    this.rank = settings.r;
    const scale = loraScale(settings);
    const order = adaptable(spec).map((p) => p.name);
    const targets = new Set(settings.targets);
    this.byParameter = new Map(matrices(spec).filter((p) => targets.has(matrixOf(spec, p.name))).map(({ name }) => {
      const weight = matrixOf(spec, name);
      return [name, { a: this.parameters.piece(adapterName(weight, 'A')), b: this.parameters.piece(partName(spec, name)), scale, matrix: order.indexOf(weight) }];
    }));
  }

  /** The adapter on a parameter, if it has one. */
  of(parameter: string): Adapter | undefined {
    return this.byParameter.get(parameter);
  }

  /** A parameter of the model that is trained in full here, if it is. */
  saved(parameter: string): Parameter | undefined {
    const name = savedOf(this.spec, this.settings, parameter);
    return name === undefined ? undefined : this.parameters.get(adapterName(name, 'saved'));
  }

  /** Fills them; `read` gives A or B of a matrix as PEFT has it, row-major, or the whole of a tensor trained in full. */
  async load(read: (weight: string, side: AdapterSide, shape: number[]) => Float32Array): Promise<void> {
    const { stored } = adapterParameters(this.spec, this.settings);
    const { targets, saved = [] } = this.settings;
    const values = new Map([...targets.flatMap((w) => [[w, 'A'], [w, 'B']] as const), ...saved.map((w) => [w, 'saved'] as const)].map(([w, side]) => [adapterName(w, side), [w, side] as const]));
    const shapes = new Map(adapterSpecs(this.spec, this.settings).map((p) => [p.name, p.shape]));
    await this.parameters.load((p, first, rows) => readStored({ stored }, p, (q, at = 0, n = q.shape[0]!) => {
      const width = q.shape[1] ?? 1;
      return read(...values.get(q.name)!, shapes.get(q.name)!).subarray(at * width, (at + n) * width);
    }, first, rows));
  }

  /** The A or B of this name, as PEFT has it. */
  read(name: string): Promise<Float32Array> {
    const { list, stored } = adapterParameters(this.spec, this.settings);
    return joinStored({ ...this.spec, stored }, name, (own) => this.parameters.read(own), list);
  }
}
