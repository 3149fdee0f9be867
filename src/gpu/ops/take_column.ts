import { perThread } from '../grid.js';
import { defineKernel } from '../kernel.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';

/** y[s] = x[s, column]: one column of a table, as its bits stand. */
export const fwd = defineKernel({
  name: 'take_column.fwd',
  read: { x: 'S W' },
  write: { y: 'S' },
  args: { S: 'u32', W: 'u32', column: 'u32' },
  tune: { WG: 64 },
  grid: ({ S, WG }) => perThread(S!, WG!),
});

export function takeColumn(p: Program, t: { x: Tensor; y: Tensor }, column: number): void {
  p.run(fwd, t, { column });
}
