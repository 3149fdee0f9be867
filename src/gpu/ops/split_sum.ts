import type { Gpu } from '../device.js';
import { perThread } from '../grid.js';
import { defineKernel, type Kernel } from '../kernel.js';
import { byFours } from '../paths.js';
import type { Program } from '../program.js';
import { capacityOf, Tensor, type Extent } from '../tensor.js';

/*
 * A product with few outputs over many rows (dW of a small layer, say) leaves most of a GPU idle: its inner axis is cut into ranges of rows, each with a sum of its own,
 * and `splitSum` adds those up in order. Ranges follow from shapes alone, so the same rows give the same bits.
 */

/** Most room for the sums of ranges. */
const SPLIT_BYTES = 64 << 20;
/** Shorter ranges cost more traffic of sums than they save. */
const LEAST_ROWS = 512;
/** Workgroups that keep a large GPU busy to the end: about three rounds of 256. */
const WANTED = 768;

/** Rows of a range, a multiple of 64, for a product of `tiles` workgroups and `outputs` results over (at most) `rows`; `rows` or more where it is not split. */
export function rangeRows(tiles: number, rows: number, outputs: number): number {
  const most = Math.min(Math.floor(SPLIT_BYTES / 4 / outputs), Math.floor(rows / LEAST_ROWS));
  const parts = Math.min(most, Math.ceil(WANTED / tiles));
  return parts < 2 ? rows : Math.ceil(rows / parts / 64) * 64;
}

const rooms = new WeakMap<Gpu, Tensor>();

/** Where `elements` sums of ranges stand: one room for a device, since products that are split follow each other anyway; a larger one where the first was too small. */
export function splitRoom(gpu: Gpu, elements: number): Tensor {
  const known = rooms.get(gpu);
  if (known && known.elements >= elements) return known.flat();
  const room = new Tensor(gpu, 'sums of ranges', [elements]);
  rooms.set(gpu, room);
  return room;
}

/** Makes that room large enough for all that is recorded later, so that none is made beside a smaller one. */
export function reserveSplitRoom(gpu: Gpu, elements: number): void {
  if (elements > 0) splitRoom(gpu, elements);
}

/** What that room takes now. */
export const splitRoomBytes = (gpu: Gpu): number => rooms.get(gpu)?.buffer.size ?? 0;

const sum = (four: boolean): Kernel => defineKernel({
  name: 'split_sum',
  read: { partial: `_ :${four ? 'vec4f' : 'f32'}` },
  update: { y: `_ _ :${four ? 'vec4f' : 'f32'}` },
  args: { M: 'u32', chunk: 'u32', offset: 'u32', E: 'u32' },
  tune: { WG: 64 },
  grid: ({ M, E, WG }) => (M! > 0 ? perThread(E!, WG!) : 0),
});
const kernels = { four: sum(true), scalar: sum(false) };

/** y[first+c, i] += Σ_s partial[s, c, i] for c < count and the ranges s of `chunk` rows in M. y [O, I]. */
export function splitSum(p: Program, partial: Tensor, y: Tensor, o: { M: Extent; chunk: number; first: number; count: number }): void {
  const I = capacityOf(y.shape[1]!);
  const four = byFours(p.gpu, I);
  p.run(four ? kernels.four : kernels.scalar, { partial, y }, { M: o.M, chunk: o.chunk, offset: (o.first * I) / (four ? 4 : 1), E: (o.count * I) / (four ? 4 : 1) });
}
