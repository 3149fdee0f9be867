import { perRow } from '../grid.js';
import { defineKernel } from '../kernel.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';

/** y = (x − mean)·rstd·gain + bias, rstd = 1/sqrt(variance + eps), over the last axis (Ba et al. 2016, arXiv 1607.06450). */
export const fwd = defineKernel({
  name: 'layer_norm.fwd',
  read: { x: 'N D', gain: 'D', bias: 'D' },
  write: { y: 'N D' },
  args: { N: 'u32', D: 'u32', eps: 'f32' },
  tune: { WG: 64 },
  prelude: 'fn before(d: u32) -> f32 { return 0.0; }',
  grid: ({ N, WG, SG }) => perRow(N!, WG!, SG!),
});

/** The same of x + b: the bias of the linear layer that made x. */
export const fwdBias = defineKernel({
  ...fwd,
  name: 'layer_norm.fwd_bias',
  shader: 'layer_norm.fwd',
  read: { x: 'N D', gain: 'D', bias: 'D', b: 'D' },
  prelude: 'fn before(d: u32) -> f32 { return b[d]; }',
});

/** x, y [N, D]; gain, bias and `b` [D]. */
export function layerNorm(p: Program, t: { x: Tensor; b?: Tensor; gain: Tensor; bias: Tensor; y: Tensor }, eps: number): void {
  p.run(t.b ? fwdBias : fwd, t as Record<string, Tensor>, { eps });
}
