import { perThread } from '../grid.js';
import { defineKernel } from '../kernel.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';

/** f = cap·tanh(f/cap), in place (Gemma 2, arXiv 2408.00118, section 2). Its slope is 1 − (f/cap)². */
export const kernel = defineKernel({
  name: 'soft_cap',
  update: { f: 'S Y' },
  args: { S: 'u32', Y: 'u32', cap: 'f32' },
  tune: { WG: 64 },
  grid: ({ S, Y, WG }) => perThread(S! * Y!, WG!),
});

/** f [S, Y]; `cap` 0 records nothing. */
export function softCap(p: Program, f: Tensor, cap: number): void {
  if (cap > 0) p.run(kernel, { f }, { cap });
}
