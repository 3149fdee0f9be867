import { perRow } from '../grid.js';
import { defineKernel, type Kernel } from '../kernel.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';
import { addColumnTotals, columnPartials } from './column_sums.js';
import { padding } from './operand_layout.js';
import { operandRoom, SEEN, UNWATCHED } from './pack_f16.js';
import { formOf, FORMS, inForms, sideBySide, type Form } from './vec.js';

/** y = x · rstd · (offset + gain), rstd = 1/sqrt(mean(x²) + eps), over the last axis (Zhang & Sennrich 2019, arXiv 1910.07467); Gemma's offset is 1. With `add` joined to a residual. */
function fwd(form: Form, add: boolean): Kernel {
  const { vec, WIDTH, prelude } = FORMS[form];
  return defineKernel({
    name: `rms_norm.fwd${form}${add ? '_add' : ''}`,
    shader: 'rms_norm.fwd',
    read: { x: `N D ${vec}`, gain: `D ${vec}`, ...(add ? { add: `N D ${vec}` } : {}) },
    write: { y: `N D ${vec}`, rstd: 'N' },
    args: { N: 'u32', D: 'u32', eps: 'f32', offset: 'f32' },
    tune: { WG: 64, WIDTH, SIDE: 1 },
    prelude: `${prelude}\nfn result(row: u32, d: u32, rstd: f32) -> Vec { return ${add ? 'joined(row, d, rstd, add[row * (args.D / WIDTH) + d])' : 'normed(row, d, rstd)'}; }`,
    grid: ({ N, WG, SG }) => perRow(N!, WG!, SG!),
  });
}
const kernels = { fwd: inForms((f) => fwd(f, false)), fwdAdd: inForms((f) => fwd(f, true)) };

/** y as an f16 operand. */
const fwdF16 = defineKernel({
  name: 'rms_norm.fwd_f16',
  read: { x: 'M D :vec4f', gain: 'D :vec4f', scales: 'K' },
  write: { rstd: 'M', packed: '_ :vec4<u32>' },
  args: { M: 'u32', D: 'u32', W: 'u32', slot: 'u32', eps: 'f32', offset: 'f32' },
  tune: { WG: 64, WIDTH: 4, TILE: 128, BLOCK: 16, SIDE: 1, MEASURE: 0 },
  prelude: `${FORMS._vec4.prelude}\n${UNWATCHED}\n${SEEN}`,
  grid: ({ M, TILE, WG, SG }) => perRow(Math.ceil(M! / TILE!) * TILE!, WG!, SG!),
});

const columnsOf = (x: Tensor): number => x.shape[1] as number;
const side = (p: Program, x: Tensor): number => sideBySide(p, columnsOf(x) / FORMS[formOf(p, x)].WIDTH);

/** `add` [N, D] joins the result; `offset` is 1 where checkpoints store the gain less 1. */
export function rmsNorm(p: Program, t: { x: Tensor; gain: Tensor; y: Tensor; rstd: Tensor; add?: Tensor }, eps: number, offset = 0): void {
  p.run((t.add ? kernels.fwdAdd : kernels.fwd)[formOf(p, t.x)], t as Record<string, Tensor>, { eps, offset }, { tune: { SIDE: side(p, t.x) } });
}

/** `rmsNorm` where nothing but matrix products of `slot` read y: only its packed operand is made. D is a multiple of 4. */
export function rmsNormOperand(p: Program, t: { x: Tensor; gain: Tensor; y: Tensor; rstd: Tensor }, slot: number, eps: number, offset = 0): void {
  const { tile, scales } = p.operands!;
  const { key, packed, stride } = operandRoom(p, t.y, slot, columnsOf(t.y), {});
  p.run(fwdF16, { x: t.x, gain: t.gain, rstd: t.rstd, scales, packed }, { W: stride, slot, eps, offset }, { tune: { ...padding(tile), SIDE: sideBySide(p, stride) } });
  p.holdOperand(t.y, key, packed, true);
}

/** partial[b, d] = Σ over the b-th block of rows of dy·x·rstd. */
const gainPartial = columnPartials('rms_norm.bwd_gain_partial', { x: 'N D', rstd: 'N', dy: 'N D' }, 'dy[at] * x[at] * rstd[n]');

/** How dx is given: added to what stands there (the residual stream's gradient), or written. */
type Onto = 'add' | 'write';

/** dx += (or =) rstd·(g·dy − x·rstd²·mean(g·dy·x)), g = offset + gain. */
function bwd(form: Form, onto: Onto): Kernel {
  const { vec, WIDTH, prelude } = FORMS[form];
  return defineKernel({
    name: `rms_norm.bwd${form}${onto === 'write' ? '_write' : ''}`,
    shader: 'rms_norm.bwd',
    read: { x: `N D ${vec}`, gain: `D ${vec}`, rstd: 'N', dy: `N D ${vec}` },
    [onto === 'add' ? 'update' : 'write']: { dx: `N D ${vec}` },
    args: { N: 'u32', D: 'u32', offset: 'f32' },
    tune: { WG: 64, WIDTH, SIDE: 1, ROWS: 1, SUBGROUPS: 1 },
    prelude: `${prelude}\nfn put(at: u32, v: Vec) -> Vec { return ${onto === 'add' ? 'dx[at] + v' : 'v'}; }`,
    grid: ({ N, WG, SG }) => perRow(N!, WG!, SG!),
  });
}
const backward = { add: inForms((f) => bwd(f, 'add')), write: inForms((f) => bwd(f, 'write')) };

/**
 * Adds to `dx` (or, with `onto` write, makes it) and, unless the gain is frozen, adds to `dgain`; `partial` is scratch [ceil(capacity of N / GAIN_ROWS), D].
 */
export function rmsNormBackward(
  p: Program,
  t: { x: Tensor; gain: Tensor; rstd: Tensor; dy: Tensor; dx: Tensor; dgain: Tensor | undefined; partial: Tensor },
  offset = 0,
  onto: Onto = 'add',
): void {
  const { x, gain, rstd, dy, dx, dgain, partial } = t;
  p.run(backward[onto][formOf(p, x)], { x, gain, rstd, dy, dx }, { offset }, { tune: { SIDE: side(p, x) } });
  if (!dgain) return;
  p.run(gainPartial[formOf(p, x)], { x, rstd, dy, partial });
  addColumnTotals(p, partial, dgain, x);
}
