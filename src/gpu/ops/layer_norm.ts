import { perRow, perThread } from '../grid.js';
import { defineKernel } from '../kernel.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';
import { addBiasBackward } from './bias.js';
import { bwdGain, GAIN_ROWS } from './rms_norm.js';

const alone = 'fn before(d: u32) -> f32 { return 0.0; }';
const forgets = 'fn keep(row: u32, m: f32, r: f32) { }';

/** y = (x − mean)·rstd·gain + bias, rstd = 1/sqrt(variance + eps), over the last axis (Ba et al. 2016, arXiv 1607.06450). */
export const fwd = defineKernel({
  name: 'layer_norm.fwd',
  read: { x: 'N D', gain: 'D', bias: 'D' },
  write: { y: 'N D' },
  args: { N: 'u32', D: 'u32', eps: 'f32' },
  tune: { WG: 64 },
  prelude: `${alone}\n${forgets}`,
  grid: ({ N, WG, SG }) => perRow(N!, WG!, SG!),
});

/** The same of x + b: the bias of the linear layer that made x. */
export const fwdBias = defineKernel({
  ...fwd,
  name: 'layer_norm.fwd_bias',
  shader: 'layer_norm.fwd',
  read: { x: 'N D', gain: 'D', bias: 'D', b: 'D' },
  prelude: `fn before(d: u32) -> f32 { return b[d]; }\n${forgets}`,
});

/** The same as `fwd`, keeping what the backward pass reads. */
export const fwdKeep = defineKernel({
  ...fwd,
  name: 'layer_norm.fwd_keep',
  shader: 'layer_norm.fwd',
  write: { y: 'N D', mean: 'N', rstd: 'N' },
  prelude: `${alone}\nfn keep(row: u32, m: f32, r: f32) { mean[row] = m; rstd[row] = r; }`,
});

/** dx += rstd·(g − mean(g) − z·mean(g·z)), g = gain·dy, z = (x − mean)·rstd. */
export const bwd = defineKernel({
  name: 'layer_norm.bwd',
  read: { x: 'N D', gain: 'D', mean: 'N', rstd: 'N', dy: 'N D' },
  update: { dx: 'N D' },
  args: { N: 'u32', D: 'u32' },
  tune: { WG: 64 },
  grid: ({ N, WG, SG }) => perRow(N!, WG!, SG!),
});

/** partial[b, d] = Σ over the b-th block of rows of dy·(x − mean)·rstd. */
export const bwdGainPartial = defineKernel({
  name: 'layer_norm.bwd_gain_partial',
  read: { x: 'N D', mean: 'N', rstd: 'N', dy: 'N D' },
  write: { partial: 'B D' },
  args: { N: 'u32', D: 'u32' },
  tune: { WG: 64, ROWS: GAIN_ROWS },
  grid: ({ N, D, WG, ROWS }) => perThread(Math.ceil(N! / ROWS!) * D!, WG!),
});

/** x, y [N, D]; gain, bias and `b` [D]. `keep`, mean and rstd [N], is written for the backward pass; not together with `b`. */
export function layerNorm(p: Program, t: { x: Tensor; b?: Tensor; gain: Tensor; bias: Tensor; y: Tensor }, eps: number, keep?: { mean: Tensor; rstd: Tensor }): void {
  if (keep) p.run(fwdKeep, { ...t, ...keep } as Record<string, Tensor>, { eps });
  else p.run(t.b ? fwdBias : fwd, t as Record<string, Tensor>, { eps });
}

/** Adds to `dx` and, unless they are frozen, to `dgain` and `dbias`; `partial` is scratch [ceil(capacity of N / GAIN_ROWS), D]. */
export function layerNormBackward(
  p: Program,
  t: { x: Tensor; gain: Tensor; mean: Tensor; rstd: Tensor; dy: Tensor; dx: Tensor; dgain: Tensor | undefined; dbias: Tensor | undefined; partial: Tensor },
): void {
  const { x, gain, mean, rstd, dy, dx, dgain, dbias, partial } = t;
  p.run(bwd, { x, gain, mean, rstd, dy, dx });
  if (dgain) {
    p.run(bwdGainPartial, { x, mean, rstd, dy, partial });
    p.run(bwdGain, { partial, dgain }, { N: x.shape[0]! });
  }
  if (dbias) addBiasBackward(p, { dy, db: dbias, partial });
}
