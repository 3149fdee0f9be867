import { perThread } from '../grid.js';
import { defineKernel } from '../kernel.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';
import { KIND, type Gate } from './swiglu.js';

/** h = act(x), both [N, F]: the MLP without a gate (GELU: Hendrycks & Gimpel 2016, arXiv 1606.08415). */
export const fwd = defineKernel({
  name: 'activation.fwd',
  read: { x: 'N F' },
  write: { h: 'N F' },
  args: { N: 'u32', F: 'u32' },
  tune: { WG: 64, KIND: 0 },
  grid: ({ N, F, WG }) => perThread(N! * F!, WG!),
});

export const bwd = defineKernel({
  name: 'activation.bwd',
  read: { x: 'N F', dh: 'N F' },
  write: { dx: 'N F' },
  args: { N: 'u32', F: 'u32' },
  tune: { WG: 64, KIND: 0 },
  grid: ({ N, F, WG }) => perThread(N! * F!, WG!),
});

export function activation(p: Program, t: { x: Tensor; h: Tensor }, kind: Gate): void {
  p.run(fwd, t, {}, { tune: { KIND: KIND[kind] } });
}
/** Writes `dx`. */
export function activationBackward(p: Program, t: { x: Tensor; dh: Tensor; dx: Tensor }, kind: Gate): void {
  p.run(bwd, t, {}, { tune: { KIND: KIND[kind] } });
}
