import { perRow, perThread } from '../grid.js';
import { defineKernel } from '../kernel.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';

/** y = x · rstd · (offset + gain), rstd = 1/sqrt(mean(x²) + eps), over the last axis (Zhang & Sennrich 2019, arXiv 1910.07467); Gemma's offset is 1. */
export const fwd = defineKernel({
  name: 'rms_norm.fwd',
  read: { x: 'N D', gain: 'D' },
  write: { y: 'N D', rstd: 'N' },
  args: { N: 'u32', D: 'u32', eps: 'f32', offset: 'f32' },
  tune: { WG: 64 },
  prelude: 'fn added(at: u32) -> f32 { return 0.0; }',
  grid: ({ N, WG, SG }) => perRow(N!, WG!, SG!),
});

/** The same, added to a residual: y = add + x · rstd · (offset + gain). */
export const fwdAdd = defineKernel({
  ...fwd,
  name: 'rms_norm.fwd_add',
  shader: 'rms_norm.fwd',
  read: { x: 'N D', gain: 'D', add: 'N D' },
  prelude: 'fn added(at: u32) -> f32 { return add[at]; }',
});

/** dx += rstd·(g·dy − x·rstd²·mean(g·dy·x)), g = offset + gain: the residual stream's gradient is added to in place. */
export const bwd = defineKernel({
  name: 'rms_norm.bwd',
  read: { x: 'N D', gain: 'D', rstd: 'N', dy: 'N D' },
  update: { dx: 'N D' },
  args: { N: 'u32', D: 'u32', offset: 'f32' },
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

/** `add` [N, D] joins the result; `offset` is 1 where checkpoints store the gain less 1. */
export function rmsNorm(p: Program, t: { x: Tensor; gain: Tensor; y: Tensor; rstd: Tensor; add?: Tensor }, eps: number, offset = 0): void {
  p.run(t.add ? fwdAdd : fwd, t as Record<string, Tensor>, { eps, offset });
}

/** Adds to `dx` and, unless the gain is frozen, to `dgain`; `partial` is scratch [ceil(capacity of N / GAIN_ROWS), D]. */
export function rmsNormBackward(
  p: Program,
  t: { x: Tensor; gain: Tensor; rstd: Tensor; dy: Tensor; dx: Tensor; dgain: Tensor | undefined; partial: Tensor },
  offset = 0,
): void {
  const { x, gain, rstd, dy, dx, dgain, partial } = t;
  p.run(bwd, { x, gain, rstd, dy, dx }, { offset });
  if (!dgain) return;
  p.run(bwdGainPartial, { x, rstd, dy, partial });
  p.run(bwdGain, { partial, dgain }, { N: x.shape[0]! });
}
