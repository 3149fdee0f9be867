import { defineKernel, type Kernel } from '../kernel.js';
import { PackedTensor } from '../packed.js';
import { byFours } from '../paths.js';
import type { Program } from '../program.js';
import { capacityOf, type Tensor } from '../tensor.js';
import { edges, layoutWords, matrixTune, operandSide } from './matmul_matrix_kernels.js';
import { packedBytes, type MatrixWeight } from './operand_layout.js';
import { heldOperand, operand, type Operand } from './pack_f16.js';

/*
 * Products of matmul_matrix.ts that add up, in one: the gradient of what several linear layers read (queries, keys and values; gate and up). Their depths stand one behind the other, so
 * that the result is written once, and a short one (keys of few heads) is a few more steps of a longer product.
 *
 * A term's sums count in its own unit, the product of its operands' scales, a power of two within 2^-120 ... 2^120; where the next term begins they are multiplied by the ratio of
 * both units. Terms go by their units, the largest first, so no ratio is over 1 and nothing overflows that would not overflow in a product of its own. What goes lost where a ratio is very
 * small is below 2^-126 in the next term's unit, in which the product of its two smallest f16 numbers is 2^-48.
 */

const MOST_TERMS = 3;
type Terms = 2 | 3;

const each = (terms: number, line: (s: number) => string): string[] => Array.from({ length: terms }, (_, s) => line(s));
/** A function of a term that gives an argument of it. */
const perTerm = (name: string, argument: string, terms: number): string =>
  `fn ${name}(term: u32) -> u32 { switch term { ${each(terms, (s) => (s === 0 ? '' : `case ${s}u: { return args.${argument}${s}; } `)).join('')}default: { return args.${argument}0; } } }`;

function sum(terms: Terms, width: 1 | 4): Kernel {
  const type = width === 4 ? ':vec4f' : '';
  const fields = each(terms, (s) => `depth${s} sa${s} slot_a${s} slot_b${s}`).flatMap((names) => names.split(' '));
  const bound = (side: string): Record<string, string> => Object.fromEntries(each(terms, (s) => `${side}${s}`).map((name) => [name, '_ :vec4<u32>']));
  return defineKernel({
    name: `matmul.matrix_nn_sum${terms}${width === 4 ? '' : '_scalar'}`,
    shader: 'matmul.matrix',
    snippets: { 'lib/product_steps': 'lib/product_sum' },
    matrices: true,
    read: { ...bound('a'), ...bound('b'), scales: 'K' },
    write: { y: `_ Y${type}` },
    args: Object.fromEntries(['M', 'I', 'Y', 'sb', ...fields].map((name) => [name, 'u32'])),
    tune: { TERMS: terms },
    prelude: [
      'fn rows() -> u32 { return args.M; }', 'fn cols() -> u32 { return args.I; }', `fn depth() -> u32 { return ${each(terms, (s) => `args.depth${s}`).join(' + ')}; }`, 'fn chunk() -> u32 { return depth(); }',
      operandSide('a', false, '', 'A', 'stride'), operandSide('b', true, '', 'B'), perTerm('depth_of', 'depth', terms), perTerm('stride_of', 'sa', terms),
      `// Terms by their units, the largest first; of two terms the third unit is 0.
fn by_unit(unit: vec3f) -> vec3<u32> {
  let one = vec3<u32>(1u);
  let rank = select(vec3<u32>(), one, vec3<bool>(unit.y > unit.x, unit.x >= unit.y, unit.x >= unit.z)) + select(vec3<u32>(), one, vec3<bool>(unit.z > unit.x, unit.z > unit.y, unit.y >= unit.z));
  var order = vec3<u32>();
  order[rank.x] = 0u;
  order[rank.y] = 1u;
  order[rank.z] = 2u;
  return order;
}`,
      'fn y_row(row: u32, part: u32) -> u32 { return row; }', edges('', width),
    ].join('\n'),
    words: layoutWords('nn'),
    grid: ({ M, I, BM, BN }) => Math.ceil(M! / BM!) * Math.ceil(I! / BN!),
  });
}

export const sumKernels: Record<Terms, Record<1 | 4, Kernel>> = { 2: { 1: sum(2, 1), 4: sum(2, 4) }, 3: { 1: sum(3, 1), 4: sum(3, 4) } };

/** A term x·w: x [M, rows of w] is a gradient, w [rows, I] has an f16 copy. */
export interface Term { x: Tensor; w: MatrixWeight }

/**
 * y[m,i] = Σ_s Σ_c x_s[m,c]·w_s[c,i] in one product, y [M, I]. `kept` is the forward input [M, I] of these layers where a product of a weight's gradient reads it next: its operand stands
 * beside theirs. Returns false, and records nothing, where there are not two or three terms, a weight has no f16 copy, or the store has no room for so many operands at once.
 */
export function matrixNNSum(p: Program, terms: Term[], y: Tensor, kept?: Tensor): boolean {
  const { tile, scales } = p.operands!;
  if (terms.length < 2 || terms.length > MOST_TERMS || terms.some(({ w }) => w.packed instanceof PackedTensor)) return false;
  const first = terms[0]!.w;
  const wanted = [...(kept ? [{ x: kept, slot: first.slots.input, columns: first.inner, gradient: false }] : []), ...terms.map(({ x, w }) => ({ x, slot: w.slots.gradient, columns: w.rows, gradient: true }))];
  const standing = wanted.map(({ x, slot, columns }) => heldOperand(p, x, slot, { columns }));
  const missing = wanted.filter((_, i) => !standing[i]).map(({ x, columns }) => packedBytes(capacityOf(x.shape[0]!), columns, tile));
  const busy: Operand[] = standing.flatMap((held) => held ?? []);
  if (!p.operands!.fits(missing, busy.map(({ packed }) => packed.buffer))) return false;
  for (const { x, slot, ...o } of wanted) busy.push(operand(p, x, slot, { ...o, busy }));
  const operands = busy.slice(-terms.length);
  const kernel = sumKernels[terms.length as Terms][byFours(p.gpu, first.inner) ? 4 : 1];
  const of = <T>(make: (term: Term, s: number) => Record<string, T>): Record<string, T> => Object.assign({}, ...terms.map(make)) as Record<string, T>;
  p.run(kernel, { ...of(({ w }, s) => ({ [`a${s}`]: operands[s]!.packed, [`b${s}`]: w.packed.as([w.packed.elements]) })), scales, y }, {
    M: y.shape[0]!, I: first.inner, sb: first.stride, count: terms.reduce((n, { w }) => n + w.rows, 0),
    ...of(({ w }, s) => ({ [`depth${s}`]: w.rows, [`sa${s}`]: operands[s]!.stride, [`slot_a${s}`]: w.slots.gradient, [`slot_b${s}`]: w.slots.weight })),
  }, { tune: matrixTune(kernel, tile, y.bytes) });
  return true;
}
