import { perThread } from '../grid.js';
import { defineKernel, type Kernel } from '../kernel.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';

/*
 * Plain f32 products in register tiles: one thread makes a 4 x 4 patch of the result and reads its operands straight
 * from storage, so there is no barrier (software adapters pay dearly for one) and no edge code beyond clamped
 * addresses. The inner axis is walked in the same order for every row: a row's bits depend on nothing but that row.
 */

/** Workgroups for patches of 4 x 4 over rows x columns, one thread each. */
const patches = (rows: number, columns: number, workgroup: number): number =>
  perThread(Math.ceil(rows / 4) * Math.ceil(columns / 4), workgroup);

const args = { M: 'u32', I: 'u32', Y: 'u32', first: 'u32', count: 'u32' } as const;

function nt(vector: boolean, add: boolean): Kernel {
  const type = vector ? ':vec4f' : '';
  return defineKernel({
    name: `matmul.nt${vector ? '_vec4' : ''}${add ? '_add' : ''}`,
    shader: vector ? 'matmul.nt_vec4' : 'matmul.nt',
    read: { x: `M I${type}`, w: `O I${type}`, ...(add ? { add: 'M Y' } : {}) },
    write: { y: 'M Y' },
    args,
    tune: { WG: 64 },
    prelude: add
      ? 'fn start(i: u32) -> f32 { return add[i]; }'
      : 'fn start(i: u32) -> f32 { return 0.0; }',
    grid: ({ M, count, WG }) => patches(M!, count!, WG!),
  });
}

function nn(vector: boolean, accumulate: boolean): Kernel {
  const type = vector ? ':vec4f' : '';
  return defineKernel({
    name: `matmul.nn${vector ? '_vec4' : ''}${accumulate ? '_acc' : ''}`,
    shader: vector ? 'matmul.nn_vec4' : 'matmul.nn',
    read: { x: 'M X', w: `O I${type}` },
    ...(accumulate ? { update: { y: `M I${type}` } } : { write: { y: `M I${type}` } }),
    args: { M: 'u32', X: 'u32', I: 'u32', first: 'u32', count: 'u32' },
    tune: { WG: 64, ACC: accumulate ? 1 : 0 },
    grid: ({ M, I, WG }) => patches(M!, I!, WG!),
  });
}

function tn(vector: boolean): Kernel {
  return defineKernel({
    name: `matmul.tn${vector ? '_vec4' : ''}`,
    shader: vector ? 'matmul.tn_vec4' : 'matmul.tn',
    read: { a: vector ? 'M X:vec4f' : 'M X', b: vector ? 'M I:vec4f' : 'M I' },
    update: { y: vector ? 'O I:vec4f' : 'O I' },
    args: { M: 'u32', X: 'u32', I: 'u32', first: 'u32', count: 'u32' },
    tune: { WG: 64 },
    grid: ({ count, I, WG }) => patches(count!, I!, WG!),
  });
}

const kernels = {
  nt: [nt(false, false), nt(true, false)],
  ntAdd: [nt(false, true), nt(true, true)],
  nn: [nn(false, false), nn(true, false)],
  nnAcc: [nn(false, true), nn(true, true)],
  tn: [tn(false), tn(true)],
} as const;

const by4 = (...sizes: number[]): 0 | 1 => (sizes.every((n) => n % 4 === 0) ? 1 : 0);
const size = (t: Tensor, axis: number): number => t.shape[axis] as number;

/** Which rows of `w` take part: `count` of them from `first`. */
export interface RowRange {
  first?: number;
  count?: number;
}

/** y[m,c] = add[m,c] + Σ_i x[m,i]·w[first+c,i] for c < count. x [M,I], w [O,I], y and add [M,Y], Y >= count. */
export function matmulNT(p: Program, t: { x: Tensor; w: Tensor; y: Tensor }, o: RowRange & { add?: Tensor } = {}): void {
  const kind = o.add ? kernels.ntAdd : kernels.nt;
  p.run(kind[by4(size(t.x, 1))], { ...t, ...(o.add ? { add: o.add } : {}) }, { first: o.first ?? 0, count: o.count ?? size(t.w, 0) });
}

/** y[m,i] (+)= Σ_{c<count} x[m,c]·w[first+c,i]. x [M,X], w [O,I], y [M,I]. */
export function matmulNN(p: Program, t: { x: Tensor; w: Tensor; y: Tensor }, o: RowRange & { accumulate?: boolean } = {}): void {
  const kind = o.accumulate ? kernels.nnAcc : kernels.nn;
  p.run(kind[by4(size(t.w, 1))], t, { first: o.first ?? 0, count: o.count ?? size(t.w, 0) });
}

/** y[first+c,i] += Σ_m a[m,c]·b[m,i] for c < count. a [M,X], b [M,I], y [O,I]; always adds. */
export function matmulTN(p: Program, t: { a: Tensor; b: Tensor; y: Tensor }, o: RowRange = {}): void {
  const count = o.count ?? size(t.y, 0);
  p.run(kernels.tn[by4(size(t.a, 1), size(t.b, 1), count, o.first ?? 0)], t, { first: o.first ?? 0, count });
}
