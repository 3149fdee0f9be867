import { NESTED_BLOCK, NESTED_SCALES, NF4_BLOCK, NF4_VALUES, packedWords } from '../../gpu/packed.js';
import { dynamicMap, nearest } from './dynamic_map.js';

/*
 * NormalFloat 4 (Dettmers et al. 2023, arXiv 2305.14314), value for value and bit for bit as bitsandbytes' quantize_4bit lays it out: blocks of 64
 * elements of the flat matrix, each scaled by its largest magnitude; with double quantisation these scales, less their mean, in 8 bits of the dynamic
 * map over blocks of 256. All steps in f32, but for the mean, which is rounded once here and summed in f32 there.
 */

const f = Math.fround;
export const NF4 = Float32Array.of(
  -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0,
  0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
);
/** Halfway between neighbours; what lies on one goes down. */
const EDGES = Float32Array.from({ length: NF4_VALUES - 1 }, (_, i) => f(NF4[i]! + NF4[i + 1]!) / 2);

/** The number of EDGES below v. */
function level(v: number): number {
  let q = v > EDGES[7]! ? 8 : 0;
  if (v > EDGES[q + 3]!) q += 4;
  if (v > EDGES[q + 1]!) q += 2;
  return v > EDGES[q]! ? q + 1 : q;
}

/** Words of whole blocks (the last may be short) and their scales; of a byte's two values the first is in the high half. */
export function packNf4(values: Float32Array): { words: Uint32Array; absmax: Float32Array } {
  const bytes = new Uint8Array(Math.ceil(values.length / 8) * 4);
  const absmax = new Float32Array(Math.ceil(values.length / NF4_BLOCK));
  for (let b = 0; b < absmax.length; b++) {
    const [begin, end] = [b * NF4_BLOCK, Math.min(values.length, (b + 1) * NF4_BLOCK)];
    let most = 0;
    for (let i = begin; i < end; i++) most = Math.max(most, Math.abs(values[i]!));
    absmax[b] = most;
    const inverse = f(1 / Math.max(most, f(1e-38)));
    for (let i = begin; i < end; i++) bytes[i >> 1]! |= level(f(values[i]! * inverse)) << (i & 1 ? 0 : 4);
  }
  if (values.length % 2 === 1) bytes[values.length >> 1]! |= level(0);
  return { words: new Uint32Array(bytes.buffer), absmax };
}

const MAP = dynamicMap(true);

const mean = (v: Float32Array): number => f(v.reduce((a, b) => a + b, 0) / v.length);

/** Scales, less their mean `offset`, once more in 8 bits: `codes`, and the scales of blocks of 256 of them. */
export function packScales(absmax: Float32Array, offset = mean(absmax)): { codes: Uint8Array; scales: Float32Array; offset: number } {
  const codes = new Uint8Array(absmax.length);
  const scales = new Float32Array(Math.ceil(absmax.length / NESTED_BLOCK));
  for (let b = 0; b < scales.length; b++) {
    const rest = absmax.subarray(b * NESTED_BLOCK, (b + 1) * NESTED_BLOCK).map((v) => v - offset);
    const most = rest.reduce((a, v) => Math.max(a, Math.abs(v)), 0);
    scales[b] = most;
    const inverse = most === 0 ? 0 : f(1 / most);
    rest.forEach((v, i) => (codes[b * NESTED_BLOCK + i] = most === 0 ? 0 : nearest(MAP, f(v * inverse))));
  }
  return { codes, scales, offset };
}

function joined(a: Float32Array, b: Float32Array): Float32Array {
  const out = new Float32Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}

/** What the GPU reads beside the words (see `PackedTensor`). */
export function nf4Scales(format: 'nf4' | 'nf4_double', absmax: Float32Array): { scales: Float32Array; codes?: Uint32Array } {
  if (format === 'nf4') return { scales: joined(NF4, absmax) };
  const nested = packScales(absmax);
  const scales = new Float32Array(NESTED_SCALES + nested.scales.length);
  scales.set(NF4);
  scales.set(MAP, NF4_VALUES);
  scales[NESTED_SCALES - 1] = nested.offset;
  scales.set(nested.scales, NESTED_SCALES);
  const codes = new Uint8Array(packedWords(format, 1, absmax.length * NF4_BLOCK).codes * 4);
  codes.set(nested.codes);
  return { scales, codes: new Uint32Array(codes.buffer) };
}

/** Back to f32 with bitsandbytes' roundings: a scale is map·scale rounded, plus the mean rounded; a value is rounded once more. */
export function unpackNf4(words: Uint32Array, scales: Float32Array, codes: Uint32Array | undefined, elements: number): Float32Array {
  const bytes = new Uint8Array(words.buffer, words.byteOffset);
  const q8 = codes && new Uint8Array(codes.buffer, codes.byteOffset);
  const scale = (b: number): number => (q8 ? f(f(scales[NF4_VALUES + q8[b]!]! * scales[NESTED_SCALES + Math.floor(b / NESTED_BLOCK)]!) + scales[NESTED_SCALES - 1]!) : scales[NF4_VALUES + b]!);
  return Float32Array.from({ length: elements }, (_, i) => NF4[(bytes[i >> 1]! >> (i & 1 ? 0 : 4)) & 15]! * scale(Math.floor(i / NF4_BLOCK)));
}
