import { perThread } from '../grid.js';
import { defineKernel } from '../kernel.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';

/** Rotary positions (Su et al. 2021, arXiv 2104.09864), half-split as in transformers' Llama, in place on the first R of every head's C in [N, heads*C]. */
export const kernel = defineKernel({
  name: 'rope',
  read: { table: 'T R', position: 'N :u32' },
  update: { x: 'N W' },
  args: { N: 'u32', W: 'u32', C: 'u32', R: 'u32', first: 'u32', sign: 'f32' },
  tune: { WG: 64 },
  grid: ({ N, W, C, R, WG }) => perThread((N! * (W! / C!) * R!) / 2, WG!),
});

/** Where a head's pairs and a layer's angles are: `C` is the width of a head (the table's, if absent), `first` the table's row of position 0. */
export interface RopeOptions {
  C?: number;
  first?: number;
}

/** cos and sin of position · frequency, made in f64, times `scale`: [positions, R], cos in the first half of a row, sin in the second. R / 2 frequencies. */
export function ropeTable(positions: number, frequencies: ArrayLike<number>, scale = 1): Float32Array {
  const R = frequencies.length * 2;
  const table = new Float32Array(positions * R);
  for (let t = 0; t < positions; t++) {
    for (let c = 0; c < R / 2; c++) {
      const angle = t * frequencies[c]!;
      table[t * R + c] = scale * Math.cos(angle);
      table[t * R + R / 2 + c] = scale * Math.sin(angle);
    }
  }
  return table;
}

const run = (p: Program, t: { x: Tensor; table: Tensor; position: Tensor }, sign: 1 | -1, { C, first = 0 }: RopeOptions): void =>
  p.run(kernel, t, { sign, first, C: C ?? (t.table.shape[1] as number) });

/** x [N, heads*C], table [T, R], position [N]. */
export const rope = (p: Program, t: { x: Tensor; table: Tensor; position: Tensor }, o: RopeOptions = {}): void => run(p, t, 1, o);
/** The inverse rotation, times the same scale, is the gradient's. */
export const ropeBackward = (p: Program, t: { x: Tensor; table: Tensor; position: Tensor }, o: RopeOptions = {}): void => run(p, t, -1, o);
