import { EdpoError } from '../../errors.js';
import type { Gpu } from '../device.js';
import { perThread } from '../grid.js';
import { defineKernel, type Kernel } from '../kernel.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';
import { matrixNN, matrixNT, matrixTN } from './matmul_matrix.js';

/*
 * Plain f32 products in register tiles: one thread makes a patch of the result and reads its operands straight
 * from storage, so there is no barrier (software adapters pay dearly for one) and no edge code beyond clamped
 * addresses. The inner axis is walked in the same order for every row: a row's bits depend on nothing but that row.
 *
 * Three forms: `scalar` for any size; `vec4` where sizes are multiples of 4, 4 x 4 patches with neighbouring lanes on
 * neighbouring columns; `lanes`, as `vec4` but lanes on different rows and larger patches, for drivers that run lanes in
 * the processor's SIMD registers, where an operand shared by all lanes is one scalar read and any other read is one per lane.
 */
type Form = 'scalar' | 'vec4' | 'lanes';

const suffix: Record<Form, string> = { scalar: '', vec4: '_vec4', lanes: '_lanes' };

/** Workgroups for patches of 4 x 4 over rows x columns, one thread each. */
const patches = (rows: number, columns: number, workgroup: number): number =>
  perThread(Math.ceil(rows / 4) * Math.ceil(columns / 4), workgroup);

/** Workgroups of the `lanes` form: two rows per lane, 16 columns shared. */
const laneBlocks = (rows: number, columns: number, workgroup: number): number =>
  Math.ceil(rows / (2 * workgroup)) * Math.ceil(columns / 16);

/** How a form by four reads four weights: as they are, or two pairs of f16, unpacked exactly (no feature is needed for that). */
const WEIGHT = {
  f32: 'fn weight(i: u32) -> vec4f { return w[i]; }',
  f16: 'fn weight(i: u32) -> vec4f { let u = w[i]; return vec4f(unpack2x16float(u.x), unpack2x16float(u.y)); }',
} as const;

function nt(form: Form, onto: '' | '_add' | '_acc', weights: 'f32' | 'f16' = 'f32'): Kernel {
  const type = form === 'scalar' ? '' : ':vec4f';
  const groups = form === 'lanes' ? laneBlocks : patches;
  return defineKernel({
    name: `matmul.nt${suffix[form]}${onto}${weights === 'f16' ? '_f16' : ''}`,
    shader: `matmul.nt${suffix[form]}`,
    read: { x: `M I${type}`, w: weights === 'f16' ? 'O J:vec2<u32>' : `O I${type}`, ...(onto === '_add' ? { add: 'M Y' } : {}) },
    ...(onto === '_acc' ? { update: { y: 'M Y' } } : { write: { y: 'M Y' } }),
    args: { M: 'u32', I: 'u32', Y: 'u32', first: 'u32', count: 'u32' },
    tune: { WG: 64 },
    prelude: [
      `fn start(i: u32) -> f32 { return ${{ '': '0.0', _add: 'add[i]', _acc: 'y[i]' }[onto]}; }`,
      ...(form === 'scalar' ? [] : [WEIGHT[weights]]),
    ].join('\n'),
    grid: ({ M, count, WG }) => groups(M!, count!, WG!),
  });
}

function nn(form: Form, accumulate: boolean): Kernel {
  const type = form === 'scalar' ? '' : ':vec4f';
  const groups = form === 'lanes' ? laneBlocks : patches;
  return defineKernel({
    name: `matmul.nn${suffix[form]}${accumulate ? '_acc' : ''}`,
    shader: `matmul.nn${suffix[form]}`,
    read: { x: form === 'lanes' ? 'M X:vec4f' : 'M X', w: `O I${type}` },
    ...(accumulate ? { update: { y: `M I${type}` } } : { write: { y: `M I${type}` } }),
    args: { M: 'u32', X: 'u32', I: 'u32', first: 'u32', count: 'u32' },
    tune: { WG: 64, ACC: accumulate ? 1 : 0 },
    grid: ({ M, I, WG }) => groups(M!, I!, WG!),
  });
}

function tn(form: Form): Kernel {
  const type = form === 'scalar' ? '' : ':vec4f';
  return defineKernel({
    name: `matmul.tn${suffix[form]}`,
    shader: `matmul.tn${suffix[form]}`,
    read: { a: `M X${type}`, b: `M I${type}` },
    update: { y: `O I${type}` },
    args: { M: 'u32', X: 'u32', I: 'u32', first: 'u32', count: 'u32' },
    tune: { WG: 64 },
    grid: form === 'lanes'
      ? ({ count, I, WG }) => Math.ceil(count! / 16) * perThread(I! / 4, WG!)
      : ({ count, I, WG }) => patches(count!, I!, WG!),
  });
}

const forms = <T>(make: (form: Form) => T): Record<Form, T> => ({ scalar: make('scalar'), vec4: make('vec4'), lanes: make('lanes') });

const kernels = {
  nt: forms((form) => nt(form, '')),
  ntAdd: forms((form) => nt(form, '_add')),
  ntAcc: forms((form) => nt(form, '_acc')),
  // The scalar form has no f16: rows are a multiple of 4 long.
  ntHalf: forms((form) => nt(form, '', form === 'scalar' ? 'f32' : 'f16')),
  ntAddHalf: forms((form) => nt(form, '_add', form === 'scalar' ? 'f32' : 'f16')),
  nn: forms((form) => nn(form, false)),
  nnAcc: forms((form) => nn(form, true)),
  tn: forms(tn),
};

const by4 = (...sizes: number[]): boolean => sizes.every((n) => n % 4 === 0);
const size = (t: Tensor, axis: number): number => t.shape[axis] as number;

/** Does this driver run lanes in SIMD registers and read what they share as a scalar? */
const sharesReads = (gpu: Gpu): boolean => /llvmpipe/i.test(gpu.info.description);

/** Records `kind` in its best form for this adapter; `lanes` fills one subgroup with a workgroup. */
function run(p: Program, kind: Record<Form, Kernel>, fits: { vec4: boolean; lanes: boolean }, t: Record<string, Tensor>, args: { first: number; count: number }): void {
  if (fits.lanes && sharesReads(p.gpu)) p.run(kind.lanes, t, args, { tune: { WG: p.gpu.subgroupMax } });
  else p.run(fits.vec4 ? kind.vec4 : kind.scalar, t, args);
}

/** Which rows of `w` take part: `count` of them from `first`. */
export interface RowRange {
  first?: number;
  count?: number;
}

/**
 * y[m,c] = add[m,c] + Σ_i x[m,i]·w[first+c,i] for c < count; with `accumulate` y itself is what is added to. x [M,I], w [O,I], y and add [M,Y], Y >= count.
 * A `w` of u32 [O,I/2] holds pairs of f16 (I a multiple of 4); the arithmetic is f32 all the same.
 */
export function matmulNT(p: Program, t: { x: Tensor; w: Tensor; y: Tensor }, o: RowRange & { add?: Tensor; bias?: Tensor; accumulate?: boolean } = {}): void {
  const args = { first: o.first ?? 0, count: o.count ?? size(t.w, 0) };
  const half = o.accumulate ? undefined : p.operands?.weight(t.w);
  if (half) return matrixNT(p, { ...t, w: half, ...args }, o);
  if (o.bias) throw new EdpoError('a product of f32 operands adds no bias');
  const vec4 = by4(size(t.x, 1));
  if (t.w.type === 'u32') {
    if (!vec4 || size(t.w, 1) * 2 !== size(t.x, 1)) throw new EdpoError(`${t.w.describe()} as f16 pairs does not fit ${t.x.describe()}`);
    if (o.add) run(p, kernels.ntAddHalf, { vec4, lanes: vec4 }, { ...t, add: o.add }, args);
    else run(p, kernels.ntHalf, { vec4, lanes: vec4 }, t, args);
  } else if (o.add) run(p, kernels.ntAdd, { vec4, lanes: vec4 }, { ...t, add: o.add }, args);
  else run(p, o.accumulate ? kernels.ntAcc : kernels.nt, { vec4, lanes: vec4 }, t, args);
}

/** y[m,i] (+)= Σ_{c<count} x[m,c]·w[first+c,i]. x [M,X], w [O,I], y [M,I]. */
export function matmulNN(p: Program, t: { x: Tensor; w: Tensor; y: Tensor }, o: RowRange & { accumulate?: boolean } = {}): void {
  const args = { first: o.first ?? 0, count: o.count ?? size(t.w, 0) };
  const half = p.operands?.weight(t.w);
  if (half) return matrixNN(p, { ...t, w: half, ...args }, o);
  const vec4 = by4(size(t.w, 1));
  run(p, o.accumulate ? kernels.nnAcc : kernels.nn, { vec4, lanes: vec4 && by4(size(t.x, 1), args.count) }, t, args);
}

/** y[first+c,i] += Σ_m a[m,c]·b[m,i] for c < count. a [M,X], b [M,I], y [O,I]; always adds. */
export function matmulTN(p: Program, t: { a: Tensor; b: Tensor; y: Tensor }, o: RowRange = {}): void {
  const args = { first: o.first ?? 0, count: o.count ?? size(t.y, 0) };
  const half = p.operands?.weight(t.y);
  if (half) return matrixTN(p, { ...t, w: half, ...args });
  const vec4 = by4(size(t.a, 1), size(t.b, 1), args.count);
  run(p, kernels.tn, { vec4, lanes: vec4 }, t, args);
}
