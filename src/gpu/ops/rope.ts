import { perThread } from '../grid.js';
import { defineKernel } from '../kernel.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';

/** Rotary positions (Su et al. 2021, arXiv 2104.09864), half-split as in transformers' Llama, in place on [N, heads*C]. */
export const kernel = defineKernel({
  name: 'rope',
  read: { table: 'T C', position: 'N :u32' },
  update: { x: 'N W' },
  args: { N: 'u32', W: 'u32', C: 'u32', sign: 'f32' },
  tune: { WG: 64 },
  grid: ({ N, W, WG }) => perThread((N! * W!) / 2, WG!),
});

/** cos and sin of position · frequency, made in f64: [positions, C], cos in the first half of a row, sin in the second. C / 2 frequencies. */
export function ropeTable(positions: number, frequencies: ArrayLike<number>): Float32Array {
  const C = frequencies.length * 2;
  const table = new Float32Array(positions * C);
  for (let t = 0; t < positions; t++) {
    for (let c = 0; c < C / 2; c++) {
      const angle = t * frequencies[c]!;
      table[t * C + c] = Math.cos(angle);
      table[t * C + C / 2 + c] = Math.sin(angle);
    }
  }
  return table;
}

export function rope(p: Program, t: { x: Tensor; table: Tensor; position: Tensor }): void {
  p.run(kernel, t, { sign: 1 });
}
/** The inverse rotation is the gradient's. */
export function ropeBackward(p: Program, t: { x: Tensor; table: Tensor; position: Tensor }): void {
  p.run(kernel, t, { sign: -1 });
}
