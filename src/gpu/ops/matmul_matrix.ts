import { EdpoError } from '../../errors.js';
import type { Kernel } from '../kernel.js';
import type { MatrixTile } from '../matrices.js';
import { PackedTensor } from '../packed.js';
import { byFours } from '../paths.js';
import type { Program } from '../program.js';
import { capacityOf, type Extent, type Tensor } from '../tensor.js';
import type { Filled } from './filled.js';
import { filledKernels, formsOf, matrixKernels, matrixTune, type Frozen } from './matmul_matrix_kernels.js';
import { padOf, type MatrixWeight } from './operand_layout.js';
import { operand } from './pack_f16.js';
import { unpackWeight } from './pack_weights.js';
import { rangeRows, splitRoom, splitSum } from './split_sum.js';
import { weightTensors } from './weights.js';

/*
 * The `subgroup-matrix` back end of matmul.ts: products with a weight that has an f16 copy, or is frozen in 16 bits or fewer. An operand is packed first (f32 -> f16 times a power of two,
 * rows and columns padded to tiles with zeros), then multiplied in the adapter's matrices with f32 sums; the result is f32 and unscaled. A row's sum runs over k in
 * one order whatever the rows around it are: its bits depend on that row alone.
 */

interface Product { x: Tensor; w: MatrixWeight; y: Tensor; first: number; count: number }

function multiply(p: Program, forms: Record<1 | 4, Kernel>, t: Record<string, Tensor>, args: { M: Extent; I: number; first: number; count: number; sa: number; sb: number; slot_a: number; slot_b: number; chunk?: number; filled_tn?: number; Y?: number }): void {
  const { tile, scales } = p.operands!;
  const columns = forms[1].name.includes('_nt') ? args.count : args.I;
  const kernel = forms[byFours(p.gpu, columns, args.Y ?? (t['y']!.shape[1] as number)) ? 4 : 1];
  p.run(kernel, { ...t, scales }, args, { tune: matrixTune(kernel, tile, t['y']!.bytes) });
}

/**
 * The weight's side of a product: its f16 copy; or, frozen in 16 bits or fewer, itself, and where the store has room for that first unpacked into it (`Operands` says when).
 * All three are the same f16 numbers. `first` is where the range begins in what is bound.
 */
export function weightSide(p: Program, { packed, ...w }: MatrixWeight, range: { first: number; count: number }): { of: Frozen; bound: Record<string, Tensor>; first: number } {
  const { tile, room } = p.operands!;
  if (packed instanceof PackedTensor) {
    if (room) return { of: undefined, bound: { b: unpackWeight(p, packed, w, range) }, first: 0 };
    return { of: { format: packed.format, by: w.inner % 8 === 0 && p.gpu.uses('by_fours') ? 8 : 1 }, bound: weightTensors('b', packed), first: range.first };
  }
  if (range.first % padOf(tile) !== 0) throw new EdpoError(`a product in matrices: a range from row ${range.first} is off the tiles of ${padOf(tile)}`);
  return { of: undefined, bound: { b: packed.as([packed.elements]) }, first: range.first };
}

/** y[m,c] = (add[m,c] +) Σ_i x[m,i]·w[first+c,i] (+ bias[c]), or with `accumulate` y[m,c] += that sum; see matmulNT. */
export function matrixNT(p: Program, { x, w, y, first, count }: Product, o: { add?: Tensor | undefined; bias?: Tensor | undefined; accumulate?: boolean | undefined } = {}): void {
  const a = operand(p, x, w.slots.input, {});
  const extra: Record<string, Tensor> = { ...(o.add ? { add: o.add } : {}), ...(o.bias ? { bias: o.bias } : {}) };
  const b = weightSide(p, w, { first, count });
  multiply(p, formsOf(o.accumulate ? 'nt_acc' : `nt${o.add ? '_add' : ''}${o.bias ? '_bias' : ''}`, b.of), { a: a.packed, ...b.bound, y, ...extra }, {
    M: x.shape[0]!, I: w.inner, first: b.first, count, sa: a.stride, sb: w.stride, slot_a: w.slots.input, slot_b: w.slots.weight,
  });
}

const flagsOf = (filled: Filled | undefined): Record<string, Tensor> => (filled ? { filled: filled.flags } : {});

/** y[m,i] (+)= Σ_{c<count} x[m,c]·w[first+c,i]; see matmulNN. x is a gradient. */
export function matrixNN(p: Program, { x, w, y, first, count }: Product, o: { accumulate?: boolean | undefined; filled?: Filled | undefined } = {}): void {
  const a = operand(p, x, w.slots.gradient, { columns: count, gradient: true });
  const b = weightSide(p, w, { first, count });
  const form = o.accumulate ? 'nn_acc' : 'nn';
  multiply(p, o.filled ? filledKernels(b.of)[form] : formsOf(form, b.of), { a: a.packed, ...b.bound, y, ...flagsOf(o.filled) }, {
    M: x.shape[0]!, I: w.inner, first: b.first, count, sa: a.stride, sb: w.stride, slot_a: w.slots.gradient, slot_b: w.slots.weight, ...(o.filled ? { filled_tn: o.filled.tn } : {}),
  });
}

/** y[first+c,i] += Σ_m a[m,c]·b[m,i]; see matmulTN. a is a gradient, b the input of the forward product. */
export function matrixTN(p: Program, t: { a: Tensor; b: Tensor; y: Tensor; w: MatrixWeight; first: number; count: number }, { filled }: { filled?: Filled | undefined } = {}): void {
  const { w, first, count } = t;
  const a = operand(p, t.a, w.slots.gradient, { columns: count, gradient: true });
  const b = operand(p, t.b, w.slots.input, { busy: [a] });
  const args = { M: t.a.shape[0]!, I: w.inner, first, count, sa: a.stride, sb: b.stride, slot_a: w.slots.gradient, slot_b: w.slots.input, ...(filled ? { filled_tn: filled.tn } : {}) };
  const { tn, tn_split } = filled ? (filledKernels(undefined) as typeof matrixKernels) : matrixKernels;
  const rows = capacityOf(args.M);
  const chunk = matrixChunk(p.operands!.tile, rows, count, w.inner);
  if (chunk >= rows || !p.gpu.uses('split_sums')) return multiply(p, tn, { a: a.packed, b: b.packed, y: t.y, ...flagsOf(filled) }, args);
  const room = splitRoom(p.gpu, Math.ceil(rows / chunk) * count * w.inner);
  multiply(p, tn_split, { a: a.packed, b: b.packed, y: room, ...flagsOf(filled) }, { ...args, chunk, Y: w.inner });
  splitSum(p, room, t.y, { M: args.M, chunk, first, count });
}

/** Rows of a range of matrixTN's depth (split_sum.ts); `rows` or more where it is not split. */
export const matrixChunk = (t: MatrixTile, rows: number, count: number, I: number): number => rangeRows(Math.ceil(count / t.BM) * Math.ceil(I / t.BN), rows, count * I);
