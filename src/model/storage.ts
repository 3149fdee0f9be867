import type { RunConfig } from '../config/keys.js';
import { weightBytes, type PackedFormat, type WeightFormat } from '../gpu/packed.js';
import { parameterSpecs, type ModelSpec, type ParameterSpec } from './families/spec.js';
import type { FloatFormat } from './files/float_formats.js';
import { isTarget } from './lora.js';

/** How each weight of a model is kept on the GPU. */
export type Storage = (p: ParameterSpec) => WeightFormat;
export const IN_F32: Storage = () => 'f32';

/** Keys that choose it. */
export type StorageKeys = Pick<RunConfig, 'base_dtype' | 'load_in_4bit' | 'load_in_8bit' | 'use_bnb_nested_quant'>;

const PLAIN: Record<FloatFormat, WeightFormat> = { F32: 'f32', F16: 'f16', BF16: 'bf16' };
const NAMED = { float32: 'f32', float16: 'f16', bfloat16: 'bf16' } as const;

/** A matrix inside a layer: what bitsandbytes quantises; embeddings, head and learned positions are none. */
export const isLayerMatrix = (spec: ModelSpec, p: ParameterSpec): boolean => p.shape.length === 2 && !p.table && p.name !== spec.names.positions;

/** A model whose weights are frozen: their files' formats, and where they are read with an adapter in them its matrices. */
export interface FrozenSource {
  spec: ModelSpec;
  /** Format of a parameter in the files. */
  formatOf(p: ParameterSpec): FloatFormat;
  adapter?: { settings: { targets: string[]; saved?: string[] } } | undefined;
}

/** bitsandbytes' format of the layers' matrices, if one is asked for. */
export const quantised = (c: StorageKeys): PackedFormat | undefined => (c.load_in_4bit ? (c.use_bnb_nested_quant ? 'nf4_double' : 'nf4') : c.load_in_8bit ? 'int8' : undefined);

/**
 * The storage of frozen weights: the layers' matrices as load_in_4bit or load_in_8bit say, others as base_dtype says, by default as the files have
 * them, which loses nothing. Vectors (gains and biases) are f32.
 */
export function frozenStorage(c: StorageKeys, { spec, formatOf, adapter }: FrozenSource): Storage {
  const q = quantised(c);
  return (p) => {
    if (p.shape.length !== 2) return 'f32';
    if (q && isLayerMatrix(spec, p)) return q;
    if (c.base_dtype !== 'auto') return NAMED[c.base_dtype];
    // A sum with an adapter's share, or what the adapter brings whole, has no format but f32.
    return adapter && isTarget(spec, [...adapter.settings.targets, ...(adapter.settings.saved ?? [])], p.name) ? 'f32' : PLAIN[formatOf(p)];
  };
}

/** The storage of weights that are trained: matrices as master_dtype says, vectors f32. */
export const trainedStorage = (c: Pick<RunConfig, 'master_dtype'>): Storage => (p) => (p.shape.length === 2 && c.master_dtype === 'bfloat16' ? 'bf16' : 'f32');

/** Formats that hold more than others: f32 both 16-bit ones. */
const holds = (format: WeightFormat, file: FloatFormat): boolean => format === 'f32' || format === PLAIN[file];

/**
 * The name of a storage that changes weights, for caches and checkpoints: formats of the layers' matrices and of the tables. Undefined where every
 * weight is what the files say.
 */
export function lossyName(storage: Storage, { spec, formatOf }: FrozenSource): string | undefined {
  const lossy = parameterSpecs(spec).filter((p) => !holds(storage(p), formatOf(p)));
  return lossy.length === 0 ? undefined : [...new Set(lossy.map((p) => `${isLayerMatrix(spec, p) ? 'matrices' : 'tables'} ${storage(p)}`))].join(', ');
}

/** Bytes of these weights on the GPU. */
export const storageBytes = (list: ParameterSpec[], storage: Storage): number => list.reduce((n, p) => n + weightBytes(p.shape.length === 2 ? storage(p) : 'f32', p.shape[0]!, p.shape[1] ?? 1), 0);

const LABELS: Record<WeightFormat, string> = { f32: 'float32', f16: 'float16', bf16: 'bfloat16', int8: '8 bits', nf4: 'NF4', nf4_double: 'NF4 with double quantisation' };

/** `layers’ matrices in NF4, embeddings and head in bfloat16`; undefined where all is f32. */
export function describeStorage(storage: Storage, spec: ModelSpec): string | undefined {
  const of = (list: ParameterSpec[]): string => [...new Set(list.map((p) => LABELS[storage(p)]))].join(' and ');
  const wide = parameterSpecs(spec).filter((p) => p.shape.length === 2);
  if (wide.every((p) => storage(p) === 'f32')) return undefined;
  const [inner, outer] = [true, false].map((is) => of(wide.filter((p) => isLayerMatrix(spec, p) === is)));
  return inner === outer ? `matrices in ${inner}` : `layers’ matrices in ${inner}, embeddings and head in ${outer}`;
}
