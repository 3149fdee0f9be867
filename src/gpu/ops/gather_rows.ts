import { perThread } from '../grid.js';
import { defineKernel } from '../kernel.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';

/** y[s,:] = x[src[s],:]: the states that predict a label. */
export const fwd = defineKernel({
  name: 'gather_rows.fwd',
  read: { x: 'N D', src: 'S :u32' },
  write: { y: 'S D' },
  args: { S: 'u32', D: 'u32' },
  tune: { WG: 64 },
  grid: ({ S, D, WG }) => perThread(S! * D!, WG!),
});

/** dx[n,:] = Σ dy over the scored rows of n in order (none: 0); `offsets` [N+1] and `list` [S] name them. */
export const bwd = defineKernel({
  name: 'gather_rows.bwd',
  read: { dy: 'S D', offsets: '_ :u32', list: 'S :u32' },
  write: { dx: 'N D' },
  args: { N: 'u32', D: 'u32' },
  tune: { WG: 64 },
  grid: ({ N, D, WG }) => perThread(N! * D!, WG!),
});

export function gatherRows(p: Program, t: { x: Tensor; src: Tensor; y: Tensor }): void {
  p.run(fwd, t);
}
export function gatherRowsBackward(p: Program, t: { dy: Tensor; offsets: Tensor; list: Tensor; dx: Tensor }): void {
  p.run(bwd, t);
}
