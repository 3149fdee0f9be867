/** Storage formats of weights; arithmetic is always f32. */
export type FloatFormat = 'F32' | 'F16' | 'BF16';

const f32 = new Float32Array(1);
const u32 = new Uint32Array(f32.buffer);

/**
 * f32 bits → f16 bits, round to nearest even: subnormals, overflow to infinity, NaN kept quiet. Twin of
 * `f16_bits` in src/gpu/shaders/lib/f16.wgsl, bit for bit.
 */
export function f32BitsToF16Bits(u: number): number {
  const sign = (u >>> 16) & 0x8000;
  const a = u & 0x7fffffff;
  if (a >= 0x7f800000) return sign | 0x7c00 | (a > 0x7f800000 ? 0x200 : 0);
  if (a >= 0x477ff000) return sign | 0x7c00;
  if (a >= 0x38800000) return sign | ((a + 0xfff + ((a >>> 13) & 1) - 0x38000000) >>> 13);
  if (a < 0x33000000) return sign;
  const shift = 126 - (a >>> 23);
  const m = (a & 0x7fffff) | 0x800000;
  const q = m >>> shift;
  const rest = m & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return sign | (q + (rest > half || (rest === half && (q & 1) === 1) ? 1 : 0));
}

export function f16BitsToF32(h: number): number {
  const sign = h & 0x8000 ? -1 : 1;
  const e = (h >>> 10) & 0x1f;
  const m = h & 0x3ff;
  if (e === 0) return sign * m * 2 ** -24;
  if (e === 31) return m ? NaN : sign * Infinity;
  return sign * (1 + m / 1024) * 2 ** (e - 15);
}

/** f32 bits → bf16 bits, round to nearest even. */
export function f32BitsToBf16Bits(u: number): number {
  if ((u & 0x7fffffff) > 0x7f800000) return ((u >>> 16) | 0x40) & 0xffff;
  return ((u + 0x7fff + ((u >>> 16) & 1)) >>> 16) & 0xffff;
}

let halves: Float32Array | undefined;
const halfTable = (): Float32Array => (halves ??= Float32Array.from({ length: 65536 }, (_, h) => f16BitsToF32(h)));

/** 16-bit patterns → f32, exact. */
export function decode16(bits: Uint16Array, format: 'F16' | 'BF16'): Float32Array {
  const out = new Float32Array(bits.length);
  if (format === 'F16') {
    const table = halfTable();
    for (let i = 0; i < bits.length; i++) out[i] = table[bits[i]!]!;
  } else {
    const words = new Uint32Array(out.buffer);
    for (let i = 0; i < bits.length; i++) words[i] = bits[i]! << 16;
  }
  return out;
}

/** f32 → 16-bit patterns, rounded to nearest even. */
export function encode16(values: Float32Array, format: 'F16' | 'BF16'): Uint16Array {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const convert = format === 'F16' ? f32BitsToF16Bits : f32BitsToBf16Bits;
  const out = new Uint16Array(values.length);
  for (let i = 0; i < out.length; i++) out[i] = convert(words[i]!);
  return out;
}

export const bytesPer: Record<FloatFormat, number> = { F32: 4, F16: 2, BF16: 2 };

/** Little-endian bytes of a storage format → f32. `bytes` may start anywhere. */
export function decode(bytes: Uint8Array, format: FloatFormat): Float32Array {
  const aligned = bytes.slice();
  if (format === 'F32') return new Float32Array(aligned.buffer, 0, aligned.length / 4);
  return decode16(new Uint16Array(aligned.buffer, 0, aligned.length / 2), format);
}

/** f32 → little-endian bytes of a storage format. */
export function encode(values: Float32Array, format: FloatFormat): Uint8Array {
  if (format === 'F32') return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const bits = encode16(values, format);
  return new Uint8Array(bits.buffer);
}

/**
 * The shortest decimal that reads back as the same f32. Most need 9 significant digits at most; fewer are tried first.
 */
export function shortestF32(x: number): string {
  f32[0] = x;
  const value = f32[0]!;
  if (!Number.isFinite(value)) return 'null';
  for (let digits = 6; digits < 9; digits++) {
    const text = value.toPrecision(digits);
    if (Math.fround(Number(text)) === value) return String(Number(text));
  }
  return String(Number(value.toPrecision(9)));
}
export const f32Bits = (x: number): number => {
  f32[0] = x;
  return u32[0]!;
};
