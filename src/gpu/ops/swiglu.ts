import { perThread } from '../grid.js';
import { defineKernel } from '../kernel.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';

/** h = silu(gate)·up (Shazeer 2020, arXiv 2002.05202), all [N, F]. */
export const fwd = defineKernel({
  name: 'swiglu.fwd',
  read: { gate: 'N F', up: 'N F' },
  write: { h: 'N F' },
  args: { N: 'u32', F: 'u32' },
  tune: { WG: 64 },
  grid: ({ N, F, WG }) => perThread(N! * F!, WG!),
});

export const bwd = defineKernel({
  name: 'swiglu.bwd',
  read: { gate: 'N F', up: 'N F', dh: 'N F' },
  write: { dgate: 'N F', dup: 'N F' },
  args: { N: 'u32', F: 'u32' },
  tune: { WG: 64 },
  grid: ({ N, F, WG }) => perThread(N! * F!, WG!),
});

export function swiglu(p: Program, t: { gate: Tensor; up: Tensor; h: Tensor }): void {
  p.run(fwd, t);
}
/** Writes `dgate` and `dup`. */
export function swigluBackward(p: Program, t: { gate: Tensor; up: Tensor; dh: Tensor; dgate: Tensor; dup: Tensor }): void {
  p.run(bwd, t);
}
