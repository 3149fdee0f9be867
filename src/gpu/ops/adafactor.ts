import { perRow, perThread } from '../grid.js';
import { defineKernel, type Kernel } from '../kernel.js';
import type { ArgValue, Program } from '../program.js';
import type { Tensor } from '../tensor.js';
import { PARTIAL_BLOCK, partialSlots } from './grad_norm.js';
import { masterKernels, masterOf, roundingArgs } from './master.js';

/*
 * Adafactor (Shazeer & Stern 2018, arXiv 1804.04235, Alg. 4 and 5) with an outside learning rate, as transformers' Trainer sets it: no momentum, no scaling by
 * the parameter, 1 - beta2_t = t^-0.8, updates clipped at rms 1. The second moment of a matrix is its rows' times its columns' means.
 */
const EPS = 1e-30;

const rows = defineKernel({
  name: 'adafactor.rows', read: { grad: 'N I', step_state: '16' }, update: { row: 'N' }, args: { N: 'u32', I: 'u32', eps: 'f32' },
  tune: { WG: 64 }, grid: ({ N, WG, SG }) => perRow(N!, WG!, SG!),
});
const columnsPartial = defineKernel({
  name: 'adafactor.columns_partial', read: { grad: 'N I', step_state: '16' }, update: { partial: 'P' }, args: { N: 'u32', I: 'u32', rows: 'u32', block: 'u32' },
  tune: { WG: 64 }, grid: ({ N, I, rows: each, WG }) => perThread(Math.ceil(N! / each!) * I!, WG!),
});
const columns = defineKernel({
  name: 'adafactor.columns', read: { partial: 'P', step_state: '16' }, update: { column: 'I' }, args: { K: 'u32', I: 'u32', rows: 'u32', eps: 'f32' },
  tune: { WG: 64 }, grid: ({ I, WG }) => perThread(I!, WG!),
});
const vector = defineKernel({
  name: 'adafactor.vector', read: { grad: 'E', step_state: '16' }, update: { v: 'E' }, args: { E: 'u32', eps: 'f32' },
  tune: { WG: 64 }, grid: ({ E, WG }) => perThread(E!, WG!),
});

/** The scaled gradient u at element t of a matrix or of a vector; total[0] is the mean of all rows' means. */
const DIRECTION = {
  matrix: 'fn direction(t: u32) -> f32 { return inverseSqrt(row[t / args.I] / total[0]) * inverseSqrt(column[t % args.I]) * grad[t] * step_state[1]; }',
  vector: 'fn direction(t: u32) -> f32 { return inverseSqrt(v[t]) * grad[t] * step_state[1]; }',
} as const;
type Form = keyof typeof DIRECTION;
const STATE: Record<Form, Record<string, string>> = { matrix: { row: 'N', column: 'I' }, vector: { v: 'E' } };
const WIDTH: Record<Form, Record<string, 'u32'>> = { matrix: { I: 'u32' }, vector: {} };

/** Partial sums of something over E elements into slots [slot, slot + partialSlots(E)). */
const partialSum = (name: string, read: Record<string, string>, args: Record<string, 'u32'>, prelude: string): Kernel => defineKernel({
  name, shader: 'sum.partial', read, update: { partials: 'K' }, args: { E: 'u32', slot: 'u32', ...args }, tune: { WG: 64, BLOCK: PARTIAL_BLOCK }, prelude,
  grid: ({ E, WG, SG }) => perRow(partialSlots(E!), WG!, SG!),
});
const rowSum = partialSum('adafactor.row_sum', { row: 'E' }, {}, 'fn term(i: u32) -> f32 { return row[i]; }');
const squares = (form: Form): Kernel => partialSum(
  `adafactor.squares_${form}`, { grad: 'E', step_state: '16', ...STATE[form], ...(form === 'matrix' ? { total: '4' } : {}) }, WIDTH[form],
  `${DIRECTION[form]}\nfn term(i: u32) -> f32 { let u = direction(i); return u * u; }`,
);
const total = defineKernel({
  name: 'sum.total', read: { partials: 'S' }, update: { total: '4' }, args: { K: 'u32', at: 'u32', by: 'f32' },
  tune: { WG: 64 }, grid: ({ WG, SG }) => perRow(1, WG!, SG!),
});
const apply = (form: Form): ReturnType<typeof masterKernels> => masterKernels({
  name: `adafactor.apply_${form}`, shader: 'adafactor.apply', read: { grad: 'E', step_state: '16', ...STATE[form], total: '4' },
  args: { E: 'u32', ...WIDTH[form], lr: 'f32', weightDecay: 'f32' }, tune: { WG: 64 }, prelude: DIRECTION[form], grid: ({ E, WG }) => perThread(E!, WG!),
});
const kernels = { squares: { matrix: squares('matrix'), vector: squares('vector') }, apply: { matrix: apply('matrix'), vector: apply('vector') } };

/** Rows one thread sums in a column: pieces are cut in 64 blocks at most, each of 16 rows at least. */
const blockRows = (N: number): number => Math.max(16, Math.ceil(N / 64));
const blocks = (N: number): number => Math.ceil(N / blockRows(N));

/** Numbers of scratch a tensor needs; `rows` of its pieces, their width (1: a vector). */
export const adafactorScratch = (rowsOfPieces: number[], width: number): { partial: number; slots: number } => ({
  partial: width > 1 ? rowsOfPieces.reduce((n, r) => n + blocks(r), 0) * width : 0,
  slots: rowsOfPieces.reduce((n, r) => n + partialSlots(r * width), 0),
});

export interface AdafactorScratch {
  /** [P] */
  partial: Tensor;
  /** [S] */
  slots: Tensor;
  /** [4]: mean of the rows' means, mean square of the scaled gradient. */
  total: Tensor;
}

/** What a piece of a tensor holds: `row` per piece of a matrix, or `v` of a vector. */
export interface AdafactorPiece {
  value: Tensor;
  grad: Tensor;
  row?: Tensor | undefined;
  v?: Tensor | undefined;
}

/** One tensor, whose pieces (by rows) share `column` where it is a matrix. Updates the values and row, column or v, which start at 0. */
export function adafactor(p: Program, pieces: AdafactorPiece[], column: Tensor | undefined, s: AdafactorScratch, stepState: Tensor, args: { lr: ArgValue; weightDecay: ArgValue }, tensor = 0): void {
  const step = { step_state: stepState };
  const size = pieces.reduce((n, x) => n + x.grad.elements, 0);
  const I = column ? (pieces[0]!.grad.shape[1] as number) : 1;
  if (column) {
    const all = pieces.reduce((n, x) => n + x.row!.elements, 0);
    let [block, slot] = [0, 0];
    pieces.forEach(({ grad, row }) => {
      p.run(rows, { grad, row: row!, ...step }, { eps: EPS });
      p.run(columnsPartial, { grad, partial: s.partial, ...step }, { rows: blockRows(row!.elements), block });
      block += blocks(row!.elements);
      p.run(rowSum, { row: row!, partials: s.slots }, { slot });
      slot += partialSlots(row!.elements);
    });
    p.run(columns, { partial: s.partial, column, ...step }, { K: block, rows: all, eps: EPS });
    p.run(total, { partials: s.slots, total: s.total }, { K: slot, at: 0, by: all });
  } else {
    for (const { grad, v } of pieces) p.run(vector, { grad: grad.flat(), v: v!.flat(), ...step }, { eps: EPS });
  }
  const form: Form = column ? 'matrix' : 'vector';
  const bound = ({ grad, row, v }: AdafactorPiece): Record<string, Tensor> => ({ grad: grad.flat(), ...(column ? { row: row!, column } : { v: v!.flat() }), ...step });
  let slot = 0;
  for (const x of pieces) {
    p.run(kernels.squares[form], { ...bound(x), ...(column ? { total: s.total } : {}), partials: s.slots }, { slot, ...(column ? { I } : {}) });
    slot += partialSlots(x.grad.elements);
  }
  p.run(total, { partials: s.slots, total: s.total }, { K: slot, at: 1, by: size });
  pieces.forEach((x, i) => p.run(kernels.apply[form][masterOf(x.value)], { ...bound(x), total: s.total, value: x.value.flat() }, { ...args, ...(column ? { I } : {}), ...roundingArgs(x.value, tensor + i) }));
}
