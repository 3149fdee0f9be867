import { perThread } from '../grid.js';
import { defineKernel } from '../kernel.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';

/** y[dst[n],:] = x[n,:]; destinations are distinct, so nothing races. */
export const kernel = defineKernel({
  name: 'scatter_rows',
  read: { x: 'N D', dst: 'N :u32' },
  update: { y: 'M D' },
  args: { N: 'u32', D: 'u32' },
  tune: { WG: 64 },
  grid: ({ N, D, WG }) => perThread(N! * D!, WG!),
});

export function scatterRows(p: Program, t: { x: Tensor; dst: Tensor; y: Tensor }): void {
  p.run(kernel, t);
}
