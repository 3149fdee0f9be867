import type { Gpu } from './device.js';
import { Tensor } from './tensor.js';

/** How a frozen matrix is kept on the GPU; arithmetic is f32 whatever it is. `nf4_double` is nf4 with its scales quantised once more. */
export const WEIGHT_FORMATS = ['f32', 'f16', 'bf16', 'int8', 'nf4', 'nf4_double'] as const;
export type WeightFormat = (typeof WEIGHT_FORMATS)[number];
export type PackedFormat = Exclude<WeightFormat, 'f32'>;

/** Elements that share a scale in nf4, and scales that share one in nf4_double (bitsandbytes' sizes). */
export const NF4_BLOCK = 64;
export const NESTED_BLOCK = 256;
/** The table of nf4's 16 values, and before the scales of scales the 256 values of the dynamic map and the offset. */
export const NF4_VALUES = 16;
export const NESTED_SCALES = NF4_VALUES + 256 + 1;

const BITS: Record<PackedFormat, number> = { f16: 16, bf16: 16, int8: 8, nf4: 4, nf4_double: 4 };

/**
 * Words of a packed matrix of `rows` x `width`: `values` holds its elements, row after row without a gap, the first in the lowest bits (of nf4's bytes,
 * as in bitsandbytes, the first of two in the high half); `scales` f32; `codes` the 8-bit scales of nf4_double, four to a word.
 */
export function packedWords(format: PackedFormat, rows: number, width: number): { values: number; scales: number; codes: number } {
  const elements = rows * width;
  const values = Math.ceil((elements * BITS[format]) / 32);
  const blocks = Math.ceil(elements / NF4_BLOCK);
  if (format === 'int8') return { values, scales: rows, codes: 0 };
  if (format === 'nf4') return { values, scales: NF4_VALUES + blocks, codes: 0 };
  if (format === 'nf4_double') return { values, scales: NESTED_SCALES + Math.ceil(blocks / NESTED_BLOCK), codes: Math.ceil(blocks / 4) };
  return { values, scales: 0, codes: 0 };
}

/** Bytes of a matrix on the GPU in any format. */
export function weightBytes(format: WeightFormat, rows: number, width: number): number {
  if (format === 'f32') return rows * width * 4;
  const { values, scales, codes } = packedWords(format, rows, width);
  return (values + scales + codes) * 4;
}

/** A frozen matrix [O, I] in fewer bits than f32: its own buffer holds the elements, `scales` and `codes` what else its format needs. */
export class PackedTensor extends Tensor {
  readonly scales: Tensor | undefined;
  readonly codes: Tensor | undefined;

  constructor(gpu: Gpu, label: string, shape: readonly [number, number], readonly format: PackedFormat) {
    const words = packedWords(format, ...shape);
    super(gpu, `${label} (${format})`, shape, 'u32', words.values * 4);
    if (words.scales > 0) this.scales = new Tensor(gpu, `${label} scales`, [words.scales]);
    if (words.codes > 0) this.codes = new Tensor(gpu, `${label} scale codes`, [words.codes], 'u32');
  }

  override destroy(): void {
    super.destroy();
    this.scales?.destroy();
    this.codes?.destroy();
  }
}

export const formatOf = (t: Tensor): WeightFormat => (t instanceof PackedTensor ? t.format : 'f32');

/** Bytes of a tensor with its scales. */
export const bytesOf = (t: Tensor): number => t.bytes + (t instanceof PackedTensor ? (t.scales?.bytes ?? 0) + (t.codes?.bytes ?? 0) : 0);
