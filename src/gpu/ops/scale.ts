import { perThread } from '../grid.js';
import { defineKernel } from '../kernel.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';

/** x[n,:] = factor · x[n,:], in place on x [N, R]. */
export const kernel = defineKernel({
  name: 'scale',
  update: { x: 'N R' },
  args: { N: 'u32', R: 'u32', factor: 'f32' },
  tune: { WG: 64 },
  grid: ({ N, R, WG }) => perThread(N! * R!, WG!),
});

export function scale(p: Program, x: Tensor, factor: number): void {
  p.run(kernel, { x }, { factor });
}
