import { perRow, perThread } from '../grid.js';
import { defineKernel } from '../kernel.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';

/** y = x · rstd · gain, rstd = 1/sqrt(mean(x²) + eps), over the last axis (Zhang & Sennrich 2019, arXiv 1910.07467). */
export const fwd = defineKernel({
  name: 'rms_norm.fwd',
  read: { x: 'N D', gain: 'D' },
  write: { y: 'N D', rstd: 'N' },
  args: { N: 'u32', D: 'u32', eps: 'f32' },
  tune: { WG: 64 },
  grid: ({ N, WG, SG }) => perRow(N!, WG!, SG!),
});

/** dx += rstd·(gain·dy − x·rstd²·mean(gain·dy·x)): the residual stream's gradient is added to in place. */
export const bwd = defineKernel({
  name: 'rms_norm.bwd',
  read: { x: 'N D', gain: 'D', rstd: 'N', dy: 'N D' },
  update: { dx: 'N D' },
  args: { N: 'u32', D: 'u32' },
  tune: { WG: 64 },
  grid: ({ N, WG, SG }) => perRow(N!, WG!, SG!),
});

/** Rows per partial sum of the gain's gradient. */
export const GAIN_ROWS = 32;

/** partial[b, d] = Σ over the b-th block of rows of dy·x·rstd. */
export const bwdGainPartial = defineKernel({
  name: 'rms_norm.bwd_gain_partial',
  read: { x: 'N D', rstd: 'N', dy: 'N D' },
  write: { partial: 'B D' },
  args: { N: 'u32', D: 'u32' },
  tune: { WG: 64, ROWS: GAIN_ROWS },
  grid: ({ N, D, WG, ROWS }) => perThread(Math.ceil(N! / ROWS!) * D!, WG!),
});

/** dgain += Σ_b partial[b], blocks in order. */
export const bwdGain = defineKernel({
  name: 'rms_norm.bwd_gain',
  read: { partial: 'B D' },
  update: { dgain: 'D' },
  args: { N: 'u32', D: 'u32' },
  tune: { WG: 64, ROWS: GAIN_ROWS },
  grid: ({ D, WG }) => perThread(D!, WG!),
});

export function rmsNorm(p: Program, t: { x: Tensor; gain: Tensor; y: Tensor; rstd: Tensor }, eps: number): void {
  p.run(fwd, t, { eps });
}

/** Adds to `dx` and to `dgain`; `partial` is scratch [ceil(capacity of N / GAIN_ROWS), D]. */
export function rmsNormBackward(
  p: Program,
  t: { x: Tensor; gain: Tensor; rstd: Tensor; dy: Tensor; dx: Tensor; dgain: Tensor; partial: Tensor },
): void {
  const { x, gain, rstd, dy, dx, dgain, partial } = t;
  p.run(bwd, { x, gain, rstd, dy, dx });
  p.run(bwdGainPartial, { x, rstd, dy, partial });
  p.run(bwdGain, { partial, dgain }, { N: x.shape[0]! });
}
