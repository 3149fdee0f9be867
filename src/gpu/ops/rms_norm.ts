import { perRow } from '../grid.js';
import { defineKernel, type Kernel } from '../kernel.js';
import type { Program } from '../program.js';
import { Dyn, type Tensor } from '../tensor.js';
import { addColumnTotals, columnPartials, GAIN_ROWS } from './column_sums.js';
import { padding } from './operand_layout.js';
import { operandRoom, scaleMeasured, SEEN, UNKEPT, UNWATCHED, WATCHED } from './pack_f16.js';
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

/** A norm joined to a residual, and the norm of that sum. */
function fwdNext(form: Form, operand: boolean): Kernel {
  const { vec, WIDTH, prelude } = FORMS[form];
  const rows = operand ? 'M' : 'N';
  return defineKernel({
    name: `rms_norm.fwd_next${operand ? '_f16' : form}`,
    shader: 'rms_norm.fwd_next',
    read: { x: `${rows} D ${vec}`, gain: `D ${vec}`, add: `${rows} D ${vec}`, gain_next: `D ${vec}`, ...(operand ? { scales: 'K' } : {}) },
    write: { y: `${rows} D ${vec}`, rstd: rows, rstd_next: rows, ...(operand ? { packed: '_ :vec4<u32>' } : { h: `N D ${vec}` }) },
    args: { [rows]: 'u32', D: 'u32', ...(operand ? { W: 'u32', slot: 'u32' } as const : {}), eps: 'f32', offset: 'f32' },
    tune: { WG: 64, WIDTH, SIDE: 1, ...(operand ? { TILE: 128, BLOCK: 16, MEASURE: 0 } : {}) },
    prelude: operand ? `${prelude}\n${UNWATCHED}\n${SEEN}` : prelude,
    snippets: operand ? { 'lib/norm_next': 'lib/norm_next_f16' } : {},
    grid: ({ N, M, TILE, WG, SG }) => perRow(operand ? Math.ceil(M! / TILE!) * TILE! : N!, WG!, SG!),
  });
}
const next = { f32: inForms((f) => fwdNext(f, false)), f16: fwdNext('_vec4', true) };

/**
 * y = add + rmsNorm(x), then h = rmsNorm(y) with gain `gainNext`, in one pass; with a slot h is made as that operand alone (D a multiple of 4). The bits are those of
 * `rmsNorm` twice.
 */
export function rmsNormNext(p: Program, t: { x: Tensor; gain: Tensor; add: Tensor; y: Tensor; rstd: Tensor; gainNext: Tensor; h: Tensor; rstdNext: Tensor }, slot: number | undefined, eps: number, offset = 0): void {
  const { x, gain, add, y, rstd, gainNext, h, rstdNext } = t;
  const tensors = { x, gain, add, y, rstd, gain_next: gainNext, rstd_next: rstdNext };
  if (slot === undefined) return p.run(next.f32[formOf(p, x)], { ...tensors, h }, { eps, offset }, { tune: { SIDE: side(p, x) } });
  const { tile, scales } = p.operands!;
  const { key, packed, stride } = operandRoom(p, h, slot, columnsOf(h), {});
  p.run(next.f16, { ...tensors, scales, packed }, { W: stride, slot, eps, offset }, { tune: { ...padding(tile), SIDE: side(p, x) } });
  p.holdOperand(h, key, packed, true);
}

/** partial[b, d] = Σ over the b-th block of rows of dy·x·rstd. */
const gainPartial = columnPartials('rms_norm.bwd_gain_partial', { x: 'N D', rstd: 'N', dy: 'N D' }, 'dy[at] * x[at]', 'rstd[n]');

/** How dx is given: added to what stands there (the residual stream's gradient), written, written as an f16 operand alone, or added and written so too. */
type Onto = 'add' | 'write' | 'operand' | 'add_operand';

/** dx += (or =) rstd·(g·dy − x·rstd²·mean(g·dy·x)), g = offset + gain; with `sums` also the gain's partial sums, for which a subgroup takes GAIN_ROWS rows. */
function bwd(form: Form, onto: Onto, sums: boolean): Kernel {
  const { vec, WIDTH, prelude } = FORMS[form];
  const operand = onto === 'operand' || onto === 'add_operand';
  const adds = onto === 'add' || onto === 'add_operand';
  const rows = operand ? 'M' : 'N';
  return defineKernel({
    name: `rms_norm.bwd${operand ? '_f16' : form}${onto === 'write' ? '_write' : ''}${onto === 'add_operand' ? '_add' : ''}${sums ? '_gain' : ''}`,
    shader: operand ? 'rms_norm.bwd_f16' : 'rms_norm.bwd',
    read: { x: `${rows} D ${vec}`, gain: `D ${vec}`, rstd: rows, dy: `${rows} D ${vec}`, ...(operand ? { scales: 'K' } : {}) },
    write: { ...(onto === 'write' ? { dx: `N D ${vec}` } : {}), ...(operand ? { packed: '_ :vec4<u32>' } : {}), ...(sums ? { partial: `B D ${vec}` } : {}) },
    update: { ...(adds ? { dx: `${rows} D ${vec}` } : {}), ...(operand ? { peaks: 'K :atomic<u32>' } : {}) },
    args: { [rows]: 'u32', D: 'u32', ...(operand ? { W: 'u32', slot: 'u32' } as const : {}), offset: 'f32' },
    tune: { WG: 64, WIDTH, SIDE: 1, ROWS: sums ? GAIN_ROWS : 1, SUBGROUPS: 1, ...(operand ? { TILE: 128, BLOCK: 16, MEASURE: 0 } : {}) },
    prelude: [
      prelude, `fn put(at: u32, rstd: f32, v: Vec) -> Vec { return ${adds ? 'fma(Vec(rstd), v, dx[at])' : 'rstd * v'}; }`,
      ...(operand ? [WATCHED, adds ? 'fn also(row: u32, d: u32, v: vec4f) { dx[row * (args.D / 4u) + d] = v; }' : UNKEPT] : []),
    ].join('\n'),
    snippets: sums ? { 'lib/gain_sums_none.bwd': 'lib/gain_sums.bwd' } : {},
    grid: ({ N, M, TILE, ROWS, WG, SG, MEASURE, measure }) => (MEASURE && !measure ? 0 : perRow(Math.ceil((operand ? Math.ceil(M! / TILE!) * TILE! : N!) / ROWS!), WG!, SG!)),
  });
}
const backward = Object.fromEntries((['add', 'write', 'operand', 'add_operand'] as const).map((onto) => [onto, { alone: inForms((f) => bwd(f, onto, false)), sums: inForms((f) => bwd(f, onto, true)) }])) as Record<Onto, Record<'alone' | 'sums', Record<Form, Kernel>>>;

/** The sizes of a workgroup that keeps sums of the gain's gradient, a line of them for each of its subgroups; undefined where lanes sum nothing or lines are too long. */
function gainSums(p: Program, x: Tensor): Record<string, number> | undefined {
  const { rowLanes, subgroupMin, limits } = p.gpu;
  if (!p.gpu.uses('norm_gain') || rowLanes === 1) return undefined;
  const WG = [Math.max(64, rowLanes), rowLanes].find((n) => (n / subgroupMin) * columnsOf(x) * 4 <= limits.workgroupBytes);
  if (WG === undefined) return undefined;
  const SUBGROUPS = Math.ceil(WG / subgroupMin);
  return { WG, SUBGROUPS, GAIN_SUMS: (SUBGROUPS * columnsOf(x)) / FORMS[formOf(p, x)].WIDTH };
}

interface NormBackward { x: Tensor; gain: Tensor; rstd: Tensor; dy: Tensor; dx: Tensor; dgain: Tensor | undefined; partial: Tensor }

/** The gain's gradient, unless it is frozen: its sums by blocks, unless they stand in `partial`, and over the blocks. */
function gainBackward(p: Program, { x, rstd, dy, dgain, partial }: NormBackward, summed: boolean): void {
  if (!dgain) return;
  if (!summed) p.run(gainPartial[formOf(p, x)], { x, rstd, dy, partial });
  addColumnTotals(p, partial, dgain, x);
}

/**
 * Adds to `dx` (or, with `onto` write, makes it) and, unless the gain is frozen, adds to `dgain`; `partial` is scratch [ceil(capacity of N / GAIN_ROWS), D].
 */
export function rmsNormBackward(p: Program, t: NormBackward, offset = 0, onto: 'add' | 'write' = 'add'): void {
  const { x, gain, rstd, dy, dx, dgain, partial } = t;
  const sums = dgain && gainSums(p, x);
  p.run(backward[onto][sums ? 'sums' : 'alone'][formOf(p, x)], { x, gain, rstd, dy, dx, ...(sums ? { partial } : {}) }, { offset }, { tune: { SIDE: side(p, x), ...sums } });
  gainBackward(p, t, sums !== undefined);
}

/** Makes dx's operand for products of `slot`, alone or with dx itself. */
function backwardPacked(p: Program, t: NormBackward, slot: number, offset: number, onto: 'operand' | 'add_operand'): void {
  const { tile, scales, peaks } = p.operands!;
  const { x, gain, rstd, dy, dx, dgain, partial } = t;
  const { key, packed, stride } = operandRoom(p, dx, slot, columnsOf(dx), {});
  const sums = dgain && gainSums(p, x);
  const run = (MEASURE: 0 | 1): void => p.run(
    backward[onto][sums ? 'sums' : 'alone']._vec4, { x, gain, rstd, dy, ...(onto === 'add_operand' ? { dx } : {}), scales, packed, peaks: peaks!, ...(sums ? { partial } : {}) },
    { W: stride, slot, offset, measure: new Dyn('measureScales', 0) }, { tune: { ...padding(tile), SIDE: side(p, x), ...sums, MEASURE } },
  );
  run(1);
  scaleMeasured(p, slot);
  run(0);
  p.holdOperand(dx, key, packed, onto === 'operand');
  gainBackward(p, t, sums !== undefined);
}

/** `rmsNormBackward` where nothing but matrix products of `slot` read dx: only its packed operand is made, nothing is added. D is a multiple of 4. */
export const rmsNormBackwardOperand = (p: Program, t: NormBackward, slot: number, offset = 0): void => backwardPacked(p, t, slot, offset, 'operand');

/** `rmsNormBackward` that adds to dx, with the operand that products of `slot` read of the sum made in the same pass. D is a multiple of 4. */
export const rmsNormBackwardAdd = (p: Program, t: NormBackward, slot: number, offset = 0): void => backwardPacked(p, t, slot, offset, 'add_operand');
