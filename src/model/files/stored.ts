import { parameterSpecs, type LayerNames, type ModelSpec, type ParameterSpec, type StoredAs } from '../families/spec.js';

/*
 * Checkpoints that fuse tensors (q, k and v in one) or store them transposed: taken apart when read, put together again when written, so that a
 * checkpoint leaves under the names and shapes it came with. No value is changed.
 */

const rowOf = ({ first, block, stride }: StoredAs, r: number): number => first + Math.floor(r / block) * stride + (r % block);
const widthOf = (p: ParameterSpec): number => p.shape[1] ?? 1;

const storedSpec = (p: ParameterSpec, s: StoredAs): ParameterSpec => ({ name: s.name, shape: s.transposed ? [widthOf(p), s.rows] : [s.rows, ...p.shape.slice(1)], table: p.table });

/** The tensors of the checkpoint, each once, in the order of the forward pass. */
export function storedSpecs(spec: ModelSpec): ParameterSpec[] {
  const list = new Map<string, ParameterSpec>();
  for (const p of parameterSpecs(spec)) {
    const s = spec.stored?.[p.name];
    const q = s ? storedSpec(p, s) : p;
    list.set(q.name, q);
  }
  return [...list.values()];
}

/** Rows [first, first + rows) of a parameter, all by default; `read` gives rows of a tensor of the checkpoint. */
export function readStored(spec: Pick<ModelSpec, 'stored'>, p: ParameterSpec, read: (p: ParameterSpec, first?: number, rows?: number) => Float32Array, first = 0, rows = p.shape[0]! - first): Float32Array {
  const s = spec.stored?.[p.name];
  if (!s) return read(p, first, rows);
  const width = widthOf(p);
  const q = storedSpec(p, s);
  if (!s.transposed && s.block === p.shape[0]) return read(q, s.first + first, rows);
  const whole = read(q);
  const out = new Float32Array(rows * width);
  for (let r = 0; r < rows; r++) {
    const from = rowOf(s, first + r);
    if (s.transposed) for (let i = 0; i < width; i++) out[r * width + i] = whole[i * s.rows + from]!;
    else out.set(whole.subarray(from * width, (from + 1) * width), r * width);
  }
  return out;
}

/** A whole tensor of the checkpoint from those of `parameters` that it holds; `read` gives a whole parameter. */
export async function joinStored(spec: ModelSpec, name: string, read: (name: string) => Promise<Float32Array>, parameters = parameterSpecs(spec)): Promise<Float32Array> {
  const parts = parameters.filter((p) => spec.stored?.[p.name]?.name === name);
  if (parts.length === 0) return read(name);
  const width = widthOf(parts[0]!);
  const out = new Float32Array(spec.stored![parts[0]!.name]!.rows * width);
  for (const p of parts) {
    const s = spec.stored![p.name]!;
    const values = await read(p.name);
    for (let r = 0; r < p.shape[0]!; r++) {
      const to = rowOf(s, r);
      if (s.transposed) for (let i = 0; i < width; i++) out[i * s.rows + to] = values[r * width + i]!;
      else out.set(values.subarray(r * width, (r + 1) * width), to * width);
    }
  }
  return out;
}

/** The same model under names without `prefix`, as checkpoints of the bare decoder have them. */
export function withoutPrefix(spec: ModelSpec): ModelSpec {
  const cut = (name: string): string => (name.startsWith(spec.prefix!) ? name.slice(spec.prefix!.length) : name);
  const cutAll = <T extends object>(names: T): T => Object.fromEntries(Object.entries(names).map(([key, v]) => [key, typeof v === 'string' ? cut(v) : v])) as T;
  return {
    ...spec,
    names: { ...cutAll(spec.names), layers: spec.names.layers.map((layer): LayerNames => cutAll(layer)) },
    stored: Object.fromEntries(Object.entries(spec.stored ?? {}).map(([key, s]) => [cut(key), { ...s, name: cut(s.name) }])),
  };
}
