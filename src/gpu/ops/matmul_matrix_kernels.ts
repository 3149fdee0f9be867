import { defineKernel, type Kernel } from '../kernel.js';
import { blockOf, stagedPitch, stagedSize, type MatrixTile } from '../matrices.js';
import type { PackedFormat } from '../packed.js';
import { EVERY_STEP, filledSteps } from './filled.js';
import { COPY_LOADS, frozenBindings, frozenLoads, type LoadWidth } from './matmul_loads.js';

/* The kernels of matmul_matrix.ts, one shader in three forms by how a sum starts, by the width of its stores and by how a frozen weight is kept. */

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
export function edges(start: Start, width: 1 | 4): string {
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
 * @param stride the parameter that gives the vec4s of a row; else they are an argument of the kernel
 */
export const operandSide = (name: string, byK: boolean, row: string, width: string, stride?: string): string => {
  const [r, c] = byK ? [`${row}k0`, 'm0'] : [`${row}m0`, 'k0'];
  return `fn ${name}_at(m0: u32, k0: u32, i: u32${stride ? `, ${stride}: u32` : ''}) -> u32 {
  let block = i / BLOCK;
  return (((${r}) / 8u + block / ACROSS_${width}) * (${stride ?? `args.s${name}`} * 8u / BLOCK) + ${c} / BLOCK + block % ACROSS_${width}) * BLOCK + i % BLOCK;
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

/** How a form's matrices stand in workgroup memory. */
export const layoutWords = (form: Layout): Record<string, string> => ({ LAYOUT_A: FORM[form].aByK ? 'col_major' : 'row_major', LAYOUT_B: FORM[form].bByK ? 'row_major' : 'col_major' });

/** Where a kernel is not as its form has it, in WGSL: rows and columns of the result, the row of y that its first one is, rows of a range of the depth, the next step, the weight's loads. */
interface Own { rows?: string; cols?: string; yRow?: string; chunk?: string; steps?: string | undefined; loads?: string }

/** What the kernels of a form have in common: how they find their operands and rows. */
export function common(form: Layout, of: Frozen, own: Own = {}): { prelude: string; words: Record<string, string>; tiles: (g: Record<string, number>) => number } {
  const f = FORM[form];
  return {
    prelude: [
      `fn rows() -> u32 { return ${own.rows ?? `args.${f.rows}`}; }`, `fn cols() -> u32 { return ${own.cols ?? `args.${f.cols}`}; }`, `fn depth() -> u32 { return args.${f.depth}; }`, `fn chunk() -> u32 { return ${own.chunk ?? 'depth()'}; }`,
      operandSide('a', f.aByK, f.aByK && form !== 'tn' ? f.bRow : '', 'A'), operandSide('b', f.bByK, f.bRow, 'B'), own.loads ?? (of ? frozenLoads(of.format, of.by, f.bByK) : COPY_LOADS), `fn y_row(row: u32, part: u32) -> u32 { return ${own.yRow ?? f.yRow}row; }`, own.steps ?? EVERY_STEP,
    ].join('\n'),
    words: layoutWords(form),
    tiles: (g) => Math.ceil(g[f.rows]! / g['BM']!) * Math.ceil(g[f.cols]! / g['BN']!),
  };
}

/** `filled`: steps whose block of A holds zeros alone are left out (filled.ts). */
function product(form: Layout, start: Start, width: 1 | 4, of: Frozen, filled = false): Kernel {
  const split = start === '_split';
  const { prelude, words, tiles } = common(form, of, { ...(split ? { yRow: 'part * args.count + ', chunk: 'args.chunk' } : {}), steps: filled && form !== 'nt' ? filledSteps(form) : undefined });
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
  nt: widths('nt', ''), nt_acc: widths('nt', '_acc'), nt_add: widths('nt', '_add'), nt_bias: widths('nt', '_bias'), nt_add_bias: widths('nt', '_add_bias'),
  nn: widths('nn', ''), nn_acc: widths('nn', '_acc'), tn: widths('tn', '_acc'), tn_split: widths('tn', '_split'),
};
/** The products that a frozen weight takes part in, and their kernels. */
const frozenKernels = perFrozen((of) => ({
  nt: widths('nt', '', of), nt_acc: widths('nt', '_acc', of), nt_add: widths('nt', '_add', of), nt_bias: widths('nt', '_bias', of), nt_add_bias: widths('nt', '_add_bias', of), nn: widths('nn', '', of), nn_acc: widths('nn', '_acc', of),
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
    WIDTH: scalar ? 1 : 4, DIRECT: fits && (/^(_split|_sum\d)?$/.test(start!) || inPlace) ? 1 : 0, IN_PLACE: fits && inPlace ? 1 : 0,
  };
}
