import { NESTED_SCALES, NF4_VALUES, PackedTensor, WEIGHT_FORMATS, type WeightFormat } from '../packed.js';
import type { Tensor } from '../tensor.js';

/*
 * How kernels read a frozen matrix: `weight(i)` is element i of it, counted row after row, or with `by: 4` elements 4i ... 4i + 3. Packed formats
 * are unpacked as they are read. int8 has one scale a row, which a product may apply to its sum: `row_scale(o)`; of other formats that is 1.
 */

const SCALAR: Record<WeightFormat, string> = {
  f32: 'return W[e];',
  f16: 'let v = unpack2x16float(W[e >> 1u]); return select(v.x, v.y, (e & 1u) == 1u);',
  bf16: 'let u = W[e >> 1u]; return bitcast<f32>(select(u << 16u, u & 0xffff0000u, (e & 1u) == 1u));',
  int8: 'return f32(bitcast<i32>(W[e >> 2u] << (24u - 8u * (e & 3u))) >> 24u);',
  nf4: 'return nf4_value((W[e >> 3u] >> nf4_shift(e)) & 15u) * nf4_scale(e >> 6u);',
  nf4_double: 'return nf4_value((W[e >> 3u] >> nf4_shift(e)) & 15u) * nf4_scale(e >> 6u);',
};

/** A block of 64 holds 16 whole fours: they never straddle one. */
const NF4_FOUR = `let u = W[e >> 1u] >> (16u * (e & 1u));
  return vec4f(nf4_value((u >> 4u) & 15u), nf4_value(u & 15u), nf4_value((u >> 12u) & 15u), nf4_value((u >> 8u) & 15u)) * nf4_scale(e >> 4u);`;

const FOUR: Record<WeightFormat, string> = {
  f32: 'return W[e];',
  f16: 'let u = W[e]; return vec4f(unpack2x16float(u.x), unpack2x16float(u.y));',
  bf16: 'let u = W[e]; return bitcast<vec4f>(vec4<u32>(u.x << 16u, u.x & 0xffff0000u, u.y << 16u, u.y & 0xffff0000u));',
  int8: 'return vec4f(bitcast<vec4<i32>>(vec4<u32>(W[e]) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u));',
  nf4: NF4_FOUR,
  nf4_double: NF4_FOUR,
};

const TYPES: Record<WeightFormat, { scalar: string; four: string }> = {
  f32: { scalar: 'f32', four: 'vec4f' },
  f16: { scalar: 'u32', four: 'vec2<u32>' },
  bf16: { scalar: 'u32', four: 'vec2<u32>' },
  int8: { scalar: 'u32', four: 'u32' },
  nf4: { scalar: 'u32', four: 'u32' },
  nf4_double: { scalar: 'u32', four: 'u32' },
};

/** 1/127 as bitsandbytes writes it. */
export const PER_127 = '7.874015718698502e-3';
const ROW_SCALE = (format: WeightFormat): string => (format === 'int8' ? `return W_scales[o] * ${PER_127};` : 'return 1.0;');
const SCALED = (format: WeightFormat): string => (format === 'int8' ? 'return v * row_scale(o);' : 'return v;');

const NF4 = `fn nf4_value(q: u32) -> f32 { return W_scales[q]; }
fn nf4_shift(e: u32) -> u32 { return 8u * ((e >> 1u) & 3u) + 4u * (1u - (e & 1u)); }
`;
const NF4_SCALE: Partial<Record<WeightFormat, string>> = {
  nf4: `${NF4}fn nf4_scale(b: u32) -> f32 { return W_scales[${NF4_VALUES}u + b]; }`,
  nf4_double: `${NF4}fn nf4_scale(b: u32) -> f32 {
  let q = (W_codes[b >> 2u] >> (8u * (b & 3u))) & 255u;
  return fma(W_scales[${NF4_VALUES}u + q], W_scales[${NESTED_SCALES}u + (b >> 8u)], W_scales[${NESTED_SCALES - 1}u]);
}`,
};

/** Bindings of a matrix called `name` in this format, to spread into a kernel's `read`. */
export function weightBindings(name: string, axes: string, format: WeightFormat, by: 1 | 4 = 1): Record<string, string> {
  return {
    [name]: `${axes} :${TYPES[format][by === 4 ? 'four' : 'scalar']}`,
    ...(format === 'int8' || format.startsWith('nf4') ? { [`${name}_scales`]: '_' } : {}),
    ...(format === 'nf4_double' ? { [`${name}_codes`]: '_ :u32' } : {}),
  };
}

/** WGSL of `weight` (or another name for a second matrix of the kernel), `row_scale` and `scaled`. */
export function weightCode(name: string, format: WeightFormat, by: 1 | 4 = 1, fn = 'weight'): string {
  const type = by === 4 ? 'vec4f' : 'f32';
  const main = `fn ${fn}(e: u32) -> ${type} { ${(by === 4 ? FOUR : SCALAR)[format]} }`;
  const scales = fn === 'weight' ? `fn row_scale(o: u32) -> f32 { ${ROW_SCALE(format)} }\nfn scaled(v: vec4f, o: u32) -> vec4f { ${SCALED(format)} }` : '';
  return [NF4_SCALE[format] ?? '', main, scales].join('\n').replaceAll(/\bW(?=\[|_)/g, name);
}

/** A matrix and what its format keeps beside it, as the tensors of those bindings. */
export function weightTensors(name: string, w: Tensor): Record<string, Tensor> {
  if (!(w instanceof PackedTensor)) return { [name]: w };
  return { [name]: w, ...(w.scales ? { [`${name}_scales`]: w.scales } : {}), ...(w.codes ? { [`${name}_codes`]: w.codes } : {}) };
}

/** What a kernel's name ends in for weights of this format. */
export const formatSuffix = (format: WeightFormat): string => (format === 'f32' ? '' : `_${format}`);

/** One of something for each format. */
export const perFormat = <T>(make: (format: WeightFormat) => T): Record<WeightFormat, T> =>
  Object.fromEntries(WEIGHT_FORMATS.map((format) => [format, make(format)])) as Record<WeightFormat, T>;
