import { perThread } from '../grid.js';
import { defineKernel } from '../kernel.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';

/** GELU in its erf form (Hendrycks & Gimpel 2016, arXiv 1606.08415, section 2), or tanh. */
export type Activation = 'gelu' | 'tanh';
const KIND: Record<Activation, number> = { gelu: 0, tanh: 1 };

/** y = act(y + b), in place: the bias of a linear layer and what follows it. */
export const fwd = defineKernel({
  name: 'bias_activation.fwd',
  read: { b: 'D' },
  update: { y: 'N D' },
  args: { N: 'u32', D: 'u32' },
  tune: { WG: 64, KIND: 0 },
  grid: ({ N, D, WG }) => perThread(N! * D!, WG!),
});

/** y [N, D], b [D]. */
export function biasActivation(p: Program, t: { y: Tensor; b: Tensor }, activation: Activation): void {
  p.run(fwd, t, {}, { tune: { KIND: KIND[activation] } });
}
