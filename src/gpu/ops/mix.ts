import { perThread } from '../grid.js';
import { defineKernel } from '../kernel.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';

/** y = α·x + (1 − α)·y, in place on y; α = 1 copies. */
export const kernel = defineKernel({
  name: 'mix',
  read: { x: 'E' },
  update: { y: 'E' },
  args: { E: 'u32', alpha: 'f32' },
  tune: { WG: 64 },
  grid: ({ E, WG }) => perThread(E!, WG!),
});

/** x and y of one size, any shape. */
export function mix(p: Program, t: { x: Tensor; y: Tensor }, alpha: number): void {
  p.run(kernel, { x: t.x.flat(), y: t.y.flat() }, { alpha });
}
