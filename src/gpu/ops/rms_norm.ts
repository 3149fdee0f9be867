import { perRow, perThread } from '../grid.js';
import { defineKernel, type Kernel } from '../kernel.js';
import { byFours } from '../paths.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';
import { padding } from './operand_layout.js';
import { operandRoom, UNWATCHED } from './pack_f16.js';

/** By one element or by four, where rows are whole fours. */
const FORMS = {
  '': { vec: '', WIDTH: 1, prelude: 'alias Vec = f32;\nfn total(v: Vec) -> f32 { return v; }' },
  _vec4: { vec: ':vec4f', WIDTH: 4, prelude: 'alias Vec = vec4f;\nfn total(v: Vec) -> f32 { return (v.x + v.y) + (v.z + v.w); }' },
} as const;
type Form = keyof typeof FORMS;
const formOf = (p: Program, x: Tensor): Form => (byFours(p.gpu, x.shape[1] as number) ? '_vec4' : '');

/** y = x · rstd · (offset + gain), rstd = 1/sqrt(mean(x²) + eps), over the last axis (Zhang & Sennrich 2019, arXiv 1910.07467); Gemma's offset is 1. With `add` joined to a residual. */
function fwd(form: Form, add: boolean): Kernel {
  const { vec, WIDTH, prelude } = FORMS[form];
  return defineKernel({
    name: `rms_norm.fwd${form}${add ? '_add' : ''}`,
    shader: 'rms_norm.fwd',
    read: { x: `N D ${vec}`, gain: `D ${vec}`, ...(add ? { add: `N D ${vec}` } : {}) },
    write: { y: `N D ${vec}`, rstd: 'N' },
    args: { N: 'u32', D: 'u32', eps: 'f32', offset: 'f32' },
    tune: { WG: 64, WIDTH },
    prelude: `${prelude}\nfn added(at: u32) -> Vec { return ${add ? 'add[at]' : 'Vec()'}; }`,
    grid: ({ N, WG, SG }) => perRow(N!, WG!, SG!),
  });
}

/** dx += rstd·(g·dy − x·rstd²·mean(g·dy·x)), g = offset + gain: the residual stream's gradient is added to in place. */
function bwd(form: Form): Kernel {
  const { vec, WIDTH, prelude } = FORMS[form];
  return defineKernel({
    name: `rms_norm.bwd${form}`,
    shader: 'rms_norm.bwd',
    read: { x: `N D ${vec}`, gain: `D ${vec}`, rstd: 'N', dy: `N D ${vec}` },
    update: { dx: `N D ${vec}` },
    args: { N: 'u32', D: 'u32', offset: 'f32' },
    tune: { WG: 64, WIDTH },
    prelude,
    grid: ({ N, WG, SG }) => perRow(N!, WG!, SG!),
  });
}

const both = <T>(make: (form: Form) => T): Record<Form, T> => ({ '': make(''), _vec4: make('_vec4') });
const kernels = { fwd: both((f) => fwd(f, false)), fwdAdd: both((f) => fwd(f, true)), bwd: both(bwd) };

/** y as an f16 operand. */
const fwdF16 = defineKernel({
  name: 'rms_norm.fwd_f16',
  read: { x: 'M D :vec4f', gain: 'D :vec4f', scales: 'K' },
  write: { rstd: 'M', packed: '_ :vec4<u32>' },
  args: { M: 'u32', D: 'u32', W: 'u32', slot: 'u32', eps: 'f32', offset: 'f32' },
  tune: { WG: 64, WIDTH: 4, TILE: 128, BLOCK: 16 },
  prelude: `${FORMS._vec4.prelude}\n${UNWATCHED}`,
  grid: ({ M, TILE, WG, SG }) => perRow(Math.ceil(M! / TILE!) * TILE!, WG!, SG!),
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

/** dgain += Σ_b partial[b]. */
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
  p.run((t.add ? kernels.fwdAdd : kernels.fwd)[formOf(p, t.x)], t as Record<string, Tensor>, { eps, offset });
}

/** `rmsNorm` where nothing but matrix products of `slot` read y: only its packed operand is made. D is a multiple of 4. */
export function rmsNormOperand(p: Program, t: { x: Tensor; gain: Tensor; y: Tensor; rstd: Tensor }, slot: number, eps: number, offset = 0): void {
  const { tile, scales } = p.operands!;
  const { key, packed, stride } = operandRoom(p, t.y, slot, t.y.shape[1] as number, {});
  p.run(fwdF16, { x: t.x, gain: t.gain, rstd: t.rstd, scales, packed }, { W: stride, slot, eps, offset }, { tune: padding(tile) });
  p.holdOperand(t.y, key, packed, true);
}

/** Adds to `dx` and, unless the gain is frozen, to `dgain`; `partial` is scratch [ceil(capacity of N / GAIN_ROWS), D]. */
export function rmsNormBackward(
  p: Program,
  t: { x: Tensor; gain: Tensor; rstd: Tensor; dy: Tensor; dx: Tensor; dgain: Tensor | undefined; partial: Tensor },
  offset = 0,
): void {
  const { x, gain, rstd, dy, dx, dgain, partial } = t;
  p.run(kernels.bwd[formOf(p, x)], { x, gain, rstd, dy, dx }, { offset });
  if (!dgain) return;
  p.run(bwdGainPartial, { x, rstd, dy, partial });
  p.run(bwdGain, { partial, dgain }, { N: x.shape[0]! });
}
