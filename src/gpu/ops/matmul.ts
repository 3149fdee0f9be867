import type { Gpu, PlainForm } from '../device.js';
import { perThread } from '../grid.js';
import { defineKernel, type Kernel } from '../kernel.js';
import { formatOf, type WeightFormat } from '../packed.js';
import { byFours } from '../paths.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';
import { addBias } from './bias.js';
import type { Filled } from './filled.js';
import { matrixNN, matrixNT, matrixTN } from './matmul_matrix.js';
import { tiledNN, tiledNT, tiledTN } from './matmul_tiled.js';
import { matrixNNSum } from './product_sum.js';
import { formatSuffix, perFormat, weightBindings, weightCode, weightTensors } from './weights.js';

/*
 * Plain f32 products. A GPU has them tiled (matmul_tiled.ts). Where a processor plays the GPU, one thread makes a patch of the result and reads its operands straight
 * from storage, so there is no barrier (software adapters pay dearly for one) and no edge code beyond clamped
 * addresses. The inner axis is walked in the same order for every row: a row's bits depend on nothing but that row.
 *
 * Three forms of patches: `scalar` for any size; `vec4` where sizes are multiples of 4, 4 x 4 patches with neighbouring lanes on
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

const fourOf = (form: Form): 1 | 4 => (form === 'scalar' ? 1 : 4);

function nt(form: Form, onto: '' | '_add' | '_acc', format: WeightFormat): Kernel {
  const type = form === 'scalar' ? '' : ':vec4f';
  const groups = form === 'lanes' ? laneBlocks : patches;
  return defineKernel({
    name: `matmul.nt${suffix[form]}${onto}${formatSuffix(format)}`,
    shader: `matmul.nt${suffix[form]}`,
    read: { x: `M I${type}`, ...weightBindings('w', 'O I', format, fourOf(form)), ...(onto === '_add' ? { add: 'M Y' } : {}) },
    ...(onto === '_acc' ? { update: { y: 'M Y' } } : { write: { y: 'M Y' } }),
    args: { M: 'u32', I: 'u32', Y: 'u32', first: 'u32', count: 'u32' },
    tune: { WG: 64 },
    prelude: `fn start(i: u32) -> f32 { return ${{ '': '0.0', _add: 'add[i]', _acc: 'y[i]' }[onto]}; }\n${weightCode('w', format, fourOf(form))}`,
    grid: ({ M, count, WG }) => groups(M!, count!, WG!),
  });
}

function nn(form: Form, accumulate: boolean, format: WeightFormat): Kernel {
  const type = form === 'scalar' ? '' : ':vec4f';
  const groups = form === 'lanes' ? laneBlocks : patches;
  return defineKernel({
    name: `matmul.nn${suffix[form]}${accumulate ? '_acc' : ''}${formatSuffix(format)}`,
    shader: `matmul.nn${suffix[form]}`,
    read: { x: form === 'lanes' ? 'M X:vec4f' : 'M X', ...weightBindings('w', 'O I', format, fourOf(form)) },
    ...(accumulate ? { update: { y: `M I${type}` } } : { write: { y: `M I${type}` } }),
    args: { M: 'u32', X: 'u32', I: 'u32', first: 'u32', count: 'u32' },
    tune: { WG: 64, ACC: accumulate ? 1 : 0 },
    prelude: weightCode('w', format, fourOf(form)),
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

type Forms = Record<Form, Kernel>;
const forms = (make: (form: Form) => Kernel): Forms => ({ scalar: make('scalar'), vec4: make('vec4'), lanes: make('lanes') });

const kernels = {
  nt: perFormat((format) => forms((form) => nt(form, '', format))),
  ntAdd: perFormat((format) => forms((form) => nt(form, '_add', format))),
  ntAcc: perFormat((format) => forms((form) => nt(form, '_acc', format))),
  nn: perFormat((format) => forms((form) => nn(form, false, format))),
  nnAcc: perFormat((format) => forms((form) => nn(form, true, format))),
  tn: forms(tn),
};

const size = (t: Tensor, axis: number): number => t.shape[axis] as number;

/**
 * How this adapter makes plain products: tiled on a GPU; in patches where a processor plays it, with lanes on different rows where the driver runs
 * lanes in SIMD registers and reads what they share as a scalar. `gpu.products` or EDPO_PRODUCTS choose otherwise.
 */
export function plainForm(gpu: Gpu): PlainForm {
  const form = usualForm(gpu);
  return form === 'tiled' && !gpu.uses('products_tiled') ? 'patches' : form;
}

/** The same whether or not `products_tiled` is on: what attention in f32 goes by. */
export function usualForm(gpu: Gpu): PlainForm {
  if (gpu.products) return gpu.products.form;
  if (gpu.kind === 'hardware') return 'tiled';
  return /llvmpipe/i.test(gpu.info.description) ? 'lanes' : 'patches';
}

/** Records `kind` in its best form for this adapter; `lanes` fills one subgroup with a workgroup. */
function run(p: Program, kind: Record<Form, Kernel>, fits: { vec4: boolean; lanes: boolean }, t: Record<string, Tensor>, args: { first: number; count: number }): void {
  if (fits.lanes && plainForm(p.gpu) === 'lanes') p.run(kind.lanes, t, args, { tune: { WG: p.gpu.subgroupMax } });
  else p.run(fits.vec4 ? kind.vec4 : kind.scalar, t, args);
}

/** Which rows of `w` take part: `count` of them from `first`. */
export interface RowRange {
  first?: number;
  count?: number;
}

/** Is a bias added where a product of `w` is made: on tiles in workgroup memory, unless that is switched off? */
const takesBias = (p: Program, w: Tensor): boolean => p.gpu.uses('product_bias') && (p.operands?.weight(w) !== undefined || plainForm(p.gpu) === 'tiled');

/**
 * y[m,c] = add[m,c] + Σ_i x[m,i]·w[first+c,i] + bias[c] for c < count; with `accumulate` y itself is what is added to. x [M,I], w [O,I], y and add [M,Y], Y >= count
 * (Y = count with a bias [Y]). `w` may be packed (`PackedTensor`); the arithmetic is f32 all the same.
 */
export function matmulNT(p: Program, t: { x: Tensor; w: Tensor; y: Tensor }, o: RowRange & { add?: Tensor | undefined; bias?: Tensor | undefined; accumulate?: boolean } = {}): void {
  const { x, w, y } = t;
  if (o.bias && (o.accumulate || !takesBias(p, w))) {
    matmulNT(p, t, { ...o, bias: undefined });
    return addBias(p, { y, b: o.bias });
  }
  const args = { first: o.first ?? 0, count: o.count ?? size(w, 0) };
  const half = p.operands?.weight(w);
  if (half) return matrixNT(p, { x, w: half, y, ...args }, o);
  if (plainForm(p.gpu) === 'tiled') return tiledNT(p, t, args, o, p.gpu.products?.tile);
  const vec4 = byFours(p.gpu, size(x, 1));
  const kind = o.add ? kernels.ntAdd : o.accumulate ? kernels.ntAcc : kernels.nt;
  run(p, kind[formatOf(w)], { vec4, lanes: vec4 }, { x, ...weightTensors('w', w), y, ...(o.add ? { add: o.add } : {}) }, args);
}

/** y[m,i] (+)= Σ_{c<count} x[m,c]·w[first+c,i]. x [M,X], w [O,I] (packed or not), y [M,I]. With flags of x's operand, in matrices, blocks of zeros are left out. */
export function matmulNN(p: Program, t: { x: Tensor; w: Tensor; y: Tensor }, o: RowRange & { accumulate?: boolean; filled?: Filled | undefined } = {}): void {
  const { x, w, y } = t;
  const args = { first: o.first ?? 0, count: o.count ?? size(w, 0) };
  const half = p.operands?.weight(w);
  if (half) return matrixNN(p, { x, w: half, y, ...args }, o);
  if (plainForm(p.gpu) === 'tiled') return tiledNN(p, t, args, o, p.gpu.products?.tile);
  const vec4 = byFours(p.gpu, size(w, 1));
  run(p, (o.accumulate ? kernels.nnAcc : kernels.nn)[formatOf(w)], { vec4, lanes: vec4 && byFours(p.gpu, size(x, 1), args.count) }, { x, ...weightTensors('w', w), y }, args);
}

/**
 * y[m,i] = Σ_s Σ_c x_s[m,c]·w_s[c,i], products of `matmulNN` that add up, in one. x_s [M,O_s], w_s [O_s,I], y [M,I]; `kept` [M,I] is the input of these layers if it is read next (product_sum.ts).
 * Returns false, and records nothing, where they are to be made one by one.
 */
export function matmulNNSum(p: Program, terms: Array<{ x: Tensor; w: Tensor }>, y: Tensor, kept?: Tensor): boolean {
  if (!p.gpu.uses('product_sums')) return false;
  const halves = terms.flatMap(({ x, w }) => {
    const half = p.operands?.weight(w);
    return half ? [{ x, w: half }] : [];
  });
  return halves.length === terms.length && matrixNNSum(p, halves, y, kept);
}

/** y[first+c,i] += Σ_m a[m,c]·b[m,i] for c < count. a [M,X], b [M,I], y [O,I]; always adds. Flags of a's operand as above. */
export function matmulTN(p: Program, t: { a: Tensor; b: Tensor; y: Tensor }, o: RowRange & { filled?: Filled | undefined } = {}): void {
  const args = { first: o.first ?? 0, count: o.count ?? size(t.y, 0) };
  const half = p.operands?.weight(t.y);
  if (half) return matrixTN(p, { ...t, w: half, ...args }, o);
  if (plainForm(p.gpu) === 'tiled') return tiledTN(p, t, args, p.gpu.products?.tile);
  const vec4 = byFours(p.gpu, size(t.a, 1), size(t.b, 1), args.count);
  run(p, kernels.tn, { vec4, lanes: vec4 }, t, args);
}
