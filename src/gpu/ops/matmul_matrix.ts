import { EdpoError } from '../../errors.js';
import { defineKernel, type Kernel } from '../kernel.js';
import { blockOf, stagedPitch, stagedSize, type MatrixTile } from '../matrices.js';
import { PackedTensor, type PackedFormat } from '../packed.js';
import { byFours } from '../paths.js';
import type { Program } from '../program.js';
import { capacityOf, type Extent, type Tensor } from '../tensor.js';
import { EVERY_STEP, filledSteps, type Filled } from './filled.js';
import { COPY_LOADS, frozenBindings, frozenLoads, type LoadWidth } from './matmul_loads.js';
import { padded, padOf, type MatrixWeight } from './operand_layout.js';
import { operand, unpackWeight } from './pack_f16.js';
import { rangeRows, splitRoom, splitSum } from './split_sum.js';
import { weightTensors } from './weights.js';

/*
 * The `subgroup-matrix` back end of matmul.ts: products with a weight that has an f16 copy, or is frozen in 16 bits or fewer. An operand is packed first (f32 -> f16 times a power of two,
 * rows and columns padded to tiles with zeros), then multiplied in the adapter's matrices with f32 sums; the result is f32 and unscaled. A row's sum runs over k in
 * one order whatever the rows around it are: its bits depend on that row alone.
 */

type Layout = 'nt' | 'nn' | 'tn';
/** What is added to a sum: nothing, another tensor, what stands there, a row vector last; `_split`: one sum for each range of the depth, alone. */
type Start = '' | '_add' | '_acc' | '_bias' | '_add_bias' | '_split';

/** What each form makes of the names of matmul.ts: y[M, count] (NT), y[M, I] (NN), y[count, I] (TN). */
const FORM: Record<Layout, { rows: string; cols: string; depth: string; aByK: boolean; bByK: boolean; bRow: string; yRow: string }> = {
  nt: { rows: 'M', cols: 'count', depth: 'I', aByK: false, bByK: false, bRow: 'args.first + ', yRow: '' },
  nn: { rows: 'M', cols: 'I', depth: 'count', aByK: false, bByK: true, bRow: 'args.first + ', yRow: '' },
  tn: { rows: 'count', cols: 'I', depth: 'M', aByK: true, bByK: true, bRow: '', yRow: 'args.first + ' },
};
const START: Partial<Record<Start, string>> = { _add: 'add[i]', _acc: 'y[i]', _add_bias: 'add[i]' };
const hasBias = (start: Start): boolean => start.endsWith('_bias');

/** What is added to four columns of a result, and their way to y: in fours, or where rows of y or the columns that count are no whole fours one by one. */
function edges(start: Start, width: 1 | 4): string {
  const from = START[start];
  const each = (f: (j: number) => string): string => [0, 1, 2, 3].map((j) => `if (col + ${j}u < cols()) { ${f(j)} }`).join(' ');
  return `fn start(row: u32, col: u32) -> vec4f {
  ${from === undefined ? '' : `if (row < rows() && col < cols()) {
    let i = y_at(row, col, 0u);
    ${width === 4 ? `return ${from};` : `var s = vec4f();
    ${each((j) => `s[${j}] = ${from.replace(']', ` + ${j}u]`)};`)}
    return s;`}
  }
  `}return vec4f();
}
fn joined(start: vec4f, sum: vec4f) -> vec4f { return ${from === undefined ? '' : 'start + '}sum; }
fn store(i: u32, col: u32, v: vec4f) {
  ${width === 4 ? `y[i] = v${hasBias(start) ? ' + bias[col / 4u]' : ''};` : each((j) => `y[i + ${j}u] = v[${j}]${hasBias(start) ? ` + bias[col + ${j}u]` : ''};`)}
}`;
}

/**
 * Of the vec4 that is the i-th a workgroup loads of its tile at (m0, k0): where it lies in the operand and where it goes in workgroup memory; and where element (m, k) of
 * the tile is there. A tile has ROWS_x rows of ACROSS_x blocks (lib/operand_layout.wgsl), k along the rows (`byK`) or along the columns.
 */
const side = (name: string, byK: boolean, row: string, width: string): string => {
  const [r, c] = byK ? [`${row}k0`, 'm0'] : [`${row}m0`, 'k0'];
  return `fn ${name}_at(m0: u32, k0: u32, i: u32) -> u32 {
  let block = i / BLOCK;
  return (((${r}) / 8u + block / ACROSS_${width}) * (args.s${name} * 8u / BLOCK) + ${c} / BLOCK + block % ACROSS_${width}) * BLOCK + i % BLOCK;
}
fn ${name}_slot(i: u32) -> u32 {
  let block = i / BLOCK;
  return (block / ACROSS_${width} * 8u + block_row(i % BLOCK / (BLOCK / 8u))) * PITCH_${width} + block % ACROSS_${width} * (BLOCK / 8u) + i % (BLOCK / 8u);
}
fn ${name}_in(m: u32, k: u32) -> u32 { return ${byK ? 'k' : 'm'} * PITCH_${width} + ${byK ? 'm' : 'k'} / 8u; }`;
};

export const ARGS = { M: 'u32', I: 'u32', Y: 'u32', first: 'u32', count: 'u32', sa: 'u32', sb: 'u32', slot_a: 'u32', slot_b: 'u32' } as const;

/** A frozen weight that a kernel reads as it is kept, by eights or by elements; undefined: its other operand is an f16 copy. */
export type Frozen = { format: PackedFormat; by: LoadWidth } | undefined;
/** What a kernel's name ends in for it. */
export const frozenSuffix = (of: Frozen): string => (of ? `.${of.format}${of.by === 8 ? '' : '_each'}` : '');
export const operandBindings = (of: Frozen): Record<string, string> => ({ a: '_ :vec4<u32>', ...(of ? frozenBindings(of.format, of.by) : { b: '_ :vec4<u32>' }), scales: 'K' });
/** A kernel for each frozen weight, made when it is wanted: there are many and a run uses few. */
export function perFrozen<T>(make: (of: Frozen) => T): (of: Frozen) => T {
  const made = new Map<string, T>();
  return (of) => {
    const key = frozenSuffix(of);
    const known = made.get(key) ?? make(of);
    made.set(key, known);
    return known;
  };
}


/** What the kernels of a form have in common: how they find their operands and rows. */
export function common(form: Layout, of: Frozen, row = FORM[form].yRow, chunk = 'depth()', steps = EVERY_STEP): { prelude: string; words: Record<string, string>; tiles: (g: Record<string, number>) => number } {
  const f = FORM[form];
  return {
    prelude: [
      `fn rows() -> u32 { return args.${f.rows}; }`, `fn cols() -> u32 { return args.${f.cols}; }`, `fn depth() -> u32 { return args.${f.depth}; }`, `fn chunk() -> u32 { return ${chunk}; }`,
      side('a', f.aByK, f.aByK && form !== 'tn' ? f.bRow : '', 'A'), side('b', f.bByK, f.bRow, 'B'), of ? frozenLoads(of.format, of.by, f.bByK) : COPY_LOADS, `fn y_row(row: u32, part: u32) -> u32 { return ${row}row; }`, steps,
    ].join('\n'),
    words: { LAYOUT_A: f.aByK ? 'col_major' : 'row_major', LAYOUT_B: f.bByK ? 'row_major' : 'col_major' },
    tiles: (g) => Math.ceil(g[f.rows]! / g['BM']!) * Math.ceil(g[f.cols]! / g['BN']!),
  };
}

/** `filled`: steps whose block of A holds zeros alone are left out (filled.ts). */
function product(form: Layout, start: Start, width: 1 | 4, of: Frozen, filled = false): Kernel {
  const split = start === '_split';
  const { prelude, words, tiles } = common(form, of, split ? 'part * args.count + ' : undefined, split ? 'args.chunk' : undefined, filled && form !== 'nt' ? filledSteps(form) : undefined);
  const type = width === 4 ? ':vec4f' : '';
  return defineKernel({
    name: `matmul.matrix_${form}${start}${width === 4 ? '' : '_scalar'}${frozenSuffix(of)}${filled ? '.filled' : ''}`,
    shader: 'matmul.matrix',
    matrices: true,
    read: { ...operandBindings(of), ...(start.startsWith('_add') ? { add: `_ Y${type}` } : {}), ...(hasBias(start) ? { bias: `_ ${type}` } : {}), ...(filled ? { filled: '_ :u32' } : {}) },
    ...(start === '_acc' ? { update: { y: `_ Y${type}` } } : { write: { y: `_ ${split ? '' : 'Y'}${type}` } }),
    args: { ...ARGS, ...(split ? { chunk: 'u32' } : {}), ...(filled ? { filled_tn: 'u32' } : {}) },
    prelude: `${prelude}\n${edges(start, width)}`,
    words,
    grid: (g) => tiles(g) * (split ? Math.ceil(g['M']! / g['chunk']!) : 1),
  });
}

const widths = (form: Layout, start: Start, of?: Frozen, filled?: boolean): Record<1 | 4, Kernel> => ({ 1: product(form, start, 1, of, filled), 4: product(form, start, 4, of, filled) });
export const matrixKernels = {
  nt: widths('nt', ''), nt_add: widths('nt', '_add'), nt_bias: widths('nt', '_bias'), nt_add_bias: widths('nt', '_add_bias'),
  nn: widths('nn', ''), nn_acc: widths('nn', '_acc'), tn: widths('tn', '_acc'), tn_split: widths('tn', '_split'),
};
/** The products that a frozen weight takes part in, and their kernels. */
const frozenKernels = perFrozen((of) => ({
  nt: widths('nt', '', of), nt_add: widths('nt', '_add', of), nt_bias: widths('nt', '_bias', of), nt_add_bias: widths('nt', '_add_bias', of), nn: widths('nn', '', of), nn_acc: widths('nn', '_acc', of),
}));
/** Of a gradient with flags. */
export const filledKernels = perFrozen((of) => ({
  nn: widths('nn', '', of, true), nn_acc: widths('nn', '_acc', of, true), ...(of ? {} : { tn: widths('tn', '_acc', of, true), tn_split: widths('tn', '_split', of, true) }),
}));
export const formsOf = (form: keyof ReturnType<typeof frozenKernels>, of: Frozen): Record<1 | 4, Kernel> => (of ? frozenKernels(of) : matrixKernels)[form];

/** The constants of a product's shader. */
export function matrixTune(kernel: Kernel, t: MatrixTile, resultBytes = Infinity): Record<string, number> {
  // A result smaller than one matrix cannot be bound where matrices are stored whole.
  const fits = resultBytes >= 4 * t.MM * t.MN;
  const [, layout, start, scalar] = /^matmul\.matrix_(nt|nn|tn)(\w*?)(_scalar)?(?:\.|$)/.exec(kernel.name)!;
  const inPlace = layout === 'tn' && start === '_acc';
  const f = FORM[layout as Layout];
  const [rowA, rowB] = [(f.aByK ? t.BM : t.BK) / 8, (f.bByK ? t.BN : t.BK) / 8];
  const WG = t.WM * t.WN * t.SG;
  const [SIZE_A, SIZE_B] = [(f.aByK ? t.BK : t.BM) * (rowA + 1), (f.bByK ? t.BK : t.BN) * (rowB + 1)];
  // Results of all rows of subgroups at once where the operands leave room for them.
  const AT_ONCE = stagedSize(t, t.WM) <= SIZE_A + SIZE_B ? t.WM : 1;
  const STAGED = (AT_ONCE * t.MM * t.BN) / 4;
  return {
    ...t, WG, TM: t.BM / t.WM / t.MM, TN: t.BN / t.WN / t.MN, KS: t.BK / t.MK,
    BLOCK: blockOf(t), ACROSS_A: (8 * rowA) / blockOf(t), ACROSS_B: (8 * rowB) / blockOf(t), PITCH_A: rowA + 1, PITCH_B: rowB + 1, SIZE_A, LOADS_A: (t.BM * t.BK) / 8 / WG, LOADS_B: (t.BN * t.BK) / 8 / WG,
    TILES: Math.max(SIZE_A + SIZE_B, stagedSize(t, AT_ONCE)), AT_ONCE, ROUNDS: t.WM / AT_ONCE, STAGED, PUTS: Math.ceil(STAGED / WG), EVEN: STAGED % WG === 0 ? 1 : 0, PITCH_Y: stagedPitch(t),
    WIDTH: scalar ? 1 : 4, DIRECT: fits && (start === '' || start === '_split' || inPlace) ? 1 : 0, IN_PLACE: fits && inPlace ? 1 : 0,
  };
}

interface Product { x: Tensor; w: MatrixWeight; y: Tensor; first: number; count: number }

function multiply(p: Program, forms: Record<1 | 4, Kernel>, t: Record<string, Tensor>, args: { M: Extent; I: number; first: number; count: number; sa: number; sb: number; slot_a: number; slot_b: number; chunk?: number; filled_tn?: number; Y?: number }): void {
  const { tile, scales } = p.operands!;
  const columns = forms[1].name.includes('_nt') ? args.count : args.I;
  const kernel = forms[byFours(p.gpu, columns, args.Y ?? (t['y']!.shape[1] as number)) ? 4 : 1];
  p.run(kernel, { ...t, scales }, args, { tune: matrixTune(kernel, tile, t['y']!.bytes) });
}

/**
 * The weight's side of a product: its f16 copy; or, frozen in 16 bits or fewer, itself, and where the store has room for that first unpacked into it (`Operands` says when).
 * All three are the same f16 numbers. `first` is where the range begins in what is bound.
 */
export function weightSide(p: Program, { packed, ...w }: MatrixWeight, range: { first: number; count: number }): { of: Frozen; bound: Record<string, Tensor>; first: number } {
  const { tile, room } = p.operands!;
  if (packed instanceof PackedTensor) {
    if (room) return { of: undefined, bound: { b: unpackWeight(p, packed, w, range) }, first: 0 };
    return { of: { format: packed.format, by: w.inner % 8 === 0 && p.gpu.uses('by_fours') ? 8 : 1 }, bound: weightTensors('b', packed), first: range.first };
  }
  if (range.first % padOf(tile) !== 0) throw new EdpoError(`a product in matrices: a range from row ${range.first} is off the tiles of ${padOf(tile)}`);
  return { of: undefined, bound: { b: packed.as([packed.elements]) }, first: range.first };
}

/** y[m,c] = (add[m,c] +) Σ_i x[m,i]·w[first+c,i] (+ bias[c]); see matmulNT. */
export function matrixNT(p: Program, { x, w, y, first, count }: Product, o: { add?: Tensor | undefined; bias?: Tensor | undefined } = {}): void {
  const a = operand(p, x, w.slots.input, {});
  const extra: Record<string, Tensor> = { ...(o.add ? { add: o.add } : {}), ...(o.bias ? { bias: o.bias } : {}) };
  const b = weightSide(p, w, { first, count });
  multiply(p, formsOf(`nt${o.add ? '_add' : ''}${o.bias ? '_bias' : ''}`, b.of), { a: a.packed, ...b.bound, y, ...extra }, {
    M: x.shape[0]!, I: w.inner, first: b.first, count, sa: a.stride, sb: padded(w.inner, p.operands!.tile) / 8, slot_a: w.slots.input, slot_b: w.slots.weight,
  });
}

const flagsOf = (filled: Filled | undefined): Record<string, Tensor> => (filled ? { filled: filled.flags } : {});

/** y[m,i] (+)= Σ_{c<count} x[m,c]·w[first+c,i]; see matmulNN. x is a gradient. */
export function matrixNN(p: Program, { x, w, y, first, count }: Product, o: { accumulate?: boolean | undefined; filled?: Filled | undefined } = {}): void {
  const a = operand(p, x, w.slots.gradient, { columns: count, gradient: true });
  const b = weightSide(p, w, { first, count });
  const form = o.accumulate ? 'nn_acc' : 'nn';
  multiply(p, o.filled ? filledKernels(b.of)[form] : formsOf(form, b.of), { a: a.packed, ...b.bound, y, ...flagsOf(o.filled) }, {
    M: x.shape[0]!, I: w.inner, first: b.first, count, sa: a.stride, sb: padded(w.inner, p.operands!.tile) / 8, slot_a: w.slots.gradient, slot_b: w.slots.weight, ...(o.filled ? { filled_tn: o.filled.tn } : {}),
  });
}

/** y[first+c,i] += Σ_m a[m,c]·b[m,i]; see matmulTN. a is a gradient, b the input of the forward product. */
export function matrixTN(p: Program, t: { a: Tensor; b: Tensor; y: Tensor; w: MatrixWeight; first: number; count: number }, { filled }: { filled?: Filled | undefined } = {}): void {
  const { w, first, count } = t;
  const a = operand(p, t.a, w.slots.gradient, { columns: count, gradient: true });
  const b = operand(p, t.b, w.slots.input, { busy: [a] });
  const args = { M: t.a.shape[0]!, I: w.inner, first, count, sa: a.stride, sb: b.stride, slot_a: w.slots.gradient, slot_b: w.slots.input, ...(filled ? { filled_tn: filled.tn } : {}) };
  const { tn, tn_split } = filled ? (filledKernels(undefined) as typeof matrixKernels) : matrixKernels;
  const rows = capacityOf(args.M);
  const chunk = matrixChunk(p.operands!.tile, rows, count, w.inner);
  if (chunk >= rows || !p.gpu.uses('split_sums')) return multiply(p, tn, { a: a.packed, b: b.packed, y: t.y, ...flagsOf(filled) }, args);
  const room = splitRoom(p.gpu, Math.ceil(rows / chunk) * count * w.inner);
  multiply(p, tn_split, { a: a.packed, b: b.packed, y: room, ...flagsOf(filled) }, { ...args, chunk, Y: w.inner });
  splitSum(p, room, t.y, { M: args.M, chunk, first, count });
}

/** Rows of a range of matrixTN's depth (split_sum.ts); `rows` or more where it is not split. */
export const matrixChunk = (t: MatrixTile, rows: number, count: number, I: number): number => rangeRows(Math.ceil(count / t.BM) * Math.ceil(I / t.BN), rows, count * I);
