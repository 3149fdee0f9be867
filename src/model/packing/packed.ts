import { InputError } from '../../errors.js';
import { debugRead, debugReadU32 } from '../../gpu/readback.js';
import { NF4_BLOCK, PackedTensor, type PackedFormat } from '../../gpu/packed.js';
import type { Tensor } from '../../gpu/tensor.js';
import { decode16, encode16 } from '../files/float_formats.js';
import { packInt8, unpackInt8 } from './int8.js';
import { nf4Scales, packNf4, unpackNf4 } from './nf4.js';

/** Elements of a matrix that are held as f32 at a time while it is packed. */
const CHUNK = 1 << 24;

type Rows = (first: number, rows: number) => Float32Array | Promise<Float32Array>;

/** Pairs of 16 bits, the first in the low half. A weight beyond f16's range is an error, never an infinity. */
function pairs(name: string, values: Float32Array, format: 'f16' | 'bf16', hint: string): Uint32Array {
  if (format === 'f16') {
    const odd = values.find((v) => !(Math.abs(v) < 65520));
    if (odd !== undefined) throw new InputError(`${name} holds ${odd}, which float16 cannot`, hint);
  }
  const bits = encode16(values, format === 'f16' ? 'F16' : 'BF16');
  if (bits.length % 2 === 0) return new Uint32Array(bits.buffer);
  const even = new Uint16Array(bits.length + 1);
  even.set(bits);
  return new Uint32Array(even.buffer);
}

/**
 * Fills a packed tensor, row chunks at a time, so that the matrix is never whole in f32.
 * @param read rows [first, first + rows) of the matrix as f32
 * @param hint what to do about a weight that the format cannot hold
 */
export async function fillPacked(t: PackedTensor, name: string, read: Rows, hint: string): Promise<void> {
  const [O, I] = t.shape as [number, number];
  // Multiples of 64 rows: every chunk begins with a word, and a block of nf4.
  const step = Math.max(NF4_BLOCK, Math.floor(CHUNK / I / NF4_BLOCK) * NF4_BLOCK);
  const absmax = new Float32Array(t.format === 'int8' ? O : Math.ceil((O * I) / NF4_BLOCK));
  for (let first = 0; first < O; first += step) {
    const values = await read(first, Math.min(step, O - first));
    const at = first * I;
    if (t.format === 'f16' || t.format === 'bf16') t.write(pairs(name, values, t.format, hint), at / 2);
    else {
      const packed = t.format === 'int8' ? packInt8(values, I) : packNf4(values);
      t.write(packed.words, t.format === 'int8' ? at / 4 : at / 8);
      absmax.set(packed.absmax, t.format === 'int8' ? first : at / NF4_BLOCK);
    }
    // Let Dawn drain its staging memory between chunks.
    await t.gpu.device.queue.onSubmittedWorkDone();
  }
  if (t.format === 'int8') t.scales!.write(absmax);
  if (t.format !== 'nf4' && t.format !== 'nf4_double') return;
  const { scales, codes } = nf4Scales(t.format, absmax);
  t.scales!.write(scales);
  if (codes) t.codes!.write(codes);
}

/** Fills a matrix or vector in whatever format it is kept. */
export async function fillTensor(t: Tensor, name: string, read: Rows, hint: string): Promise<void> {
  if (t instanceof PackedTensor) return fillPacked(t, name, read, hint);
  t.write(await read(0, t.shape[0] as number));
  // Let Dawn drain its staging memory between tensors.
  await t.gpu.device.queue.onSubmittedWorkDone();
}

/** What such words stand for, as f32. */
export function unpack(format: PackedFormat, words: Uint32Array, elements: number, scales?: Float32Array, codes?: Uint32Array): Float32Array {
  if (format === 'f16' || format === 'bf16') return decode16(new Uint16Array(words.buffer, words.byteOffset, elements), format === 'f16' ? 'F16' : 'BF16');
  if (format === 'int8') return unpackInt8(words, scales!, elements);
  return unpackNf4(words, scales!, codes, elements);
}

/** Reads a matrix or vector back as f32, whatever it is kept in. */
export const readTensor = (t: Tensor): Promise<Float32Array> => (t instanceof PackedTensor ? readPacked(t) : debugRead(t));

/** Reads a packed matrix back as f32. */
export async function readPacked(t: PackedTensor): Promise<Float32Array> {
  const [O, I] = t.shape as [number, number];
  return unpack(t.format, await debugReadU32(t), O * I, t.scales && (await debugRead(t.scales)), t.codes && (await debugReadU32(t.codes)));
}
