import { defineKernel, type Kernel } from '../kernel.js';
import { PackedTensor } from '../packed.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';
import { TILE_ROWS } from './attention_tiles.js';
import { EVERY_STEP } from './filled.js';
import { copyLoads } from './matmul_loads.js';
import { layoutWords, matrixTune, operandSide } from './matmul_matrix_kernels.js';
import type { MatrixWeight } from './operand_layout.js';
import { operand, operandRoom } from './pack_f16.js';
import { turnsInProduct, type Turning } from './result_rows.js';

/*
 * The products of queries, keys and values with what they read, in one dispatch: result_rows.ts three times, whose tiles stand beside each other, so that the few tiles of keys and values do not have a
 * GPU for themselves. A tile is of one of the three, and its sums run as in a product of its own: the same bits.
 */

const SIDES = [0, 1, 2] as const;
/** What a side has: a constant of the kernel, or an argument of each. */
const perSide = (name: string, of: readonly [string, string, string]): string => `fn ${name}(side: u32) -> u32 { switch side { case 1u: { return ${of[1]}; } case 2u: { return ${of[2]}; } default: { return ${of[0]}; } } }`;

function product(turns: boolean, bias: boolean): Kernel {
  const each = (text: string): string => SIDES.slice(1).map((s) => `case ${s}u: { ${text.replaceAll('$', String(s))} }`).join(' ') + ` default: { ${text.replaceAll('$', '0')} }`;
  const bound = (name: string, type: string): Record<string, string> => Object.fromEntries(SIDES.map((s) => [`${name}${s}`, `_ :${type}`]));
  return defineKernel({
    name: `matmul.matrix_nt_qkv${turns ? '_turned' : ''}${bias ? '_bias' : ''}`,
    shader: 'matmul.matrix',
    matrices: true,
    mostBindings: 16,
    snippets: { 'lib/result_f32': 'lib/result_qkv' },
    read: { a: '_ :vec4<u32>', ...bound('b', 'vec4<u32>'), scales: 'K', ...(bias ? bound('bias', 'vec4f') : {}), ...(turns ? { table: 'T R :vec4f', position: '_ :u32' } : {}) },
    write: bound('y', 'vec2<u32>'),
    args: Object.fromEntries(['M', 'I', 'Y', 'heads', 'groups', 'sa', 'slot_a', 'slot_b', 'slot_b1', 'slot_b2', 'slot', 'slot1', 'slot2', ...(turns ? ['C', 'R', 'turn'] : [])].map((name) => [name, 'u32'])),
    tune: { TURNS: turns ? 1 : 0 },
    prelude: [
      'fn rows() -> u32 { return args.M; }', 'fn depth() -> u32 { return args.I; }', 'fn chunk() -> u32 { return args.I; }',
      'fn whole_tiles(columns: u32) -> u32 { return (columns + BN - 1u) / BN * BN; }',
      'fn cols() -> u32 { return whole_tiles(args.heads) + 2u * whole_tiles(args.groups); }',
      'fn side_of(col: u32) -> u32 { return select(0u, 1u, col >= begin_of(1u)) + select(0u, 1u, col >= begin_of(2u)); }',
      perSide('begin_of', ['0u', 'whole_tiles(args.heads)', 'whole_tiles(args.heads) + whole_tiles(args.groups)']),
      perSide('count_of', ['args.heads', 'args.groups', 'args.groups']), perSide('slot_b_of', ['args.slot_b', 'args.slot_b1', 'args.slot_b2']), perSide('slot_of', ['args.slot', 'args.slot1', 'args.slot2']),
      operandSide('a', false, '', 'A'), operandSide('b', false, '', 'B', 'stride'),
      // What they read is as wide as their weights, and so are both operands.
      copyLoads(`let side = side_of(n0);
  let at = b_at(n0 - begin_of(side), k0, i, args.sa);
  switch side { ${each('return b$[at];')} }`),
      'fn y_row(row: u32, part: u32) -> u32 { return row; }', EVERY_STEP,
      bias ? `fn biased(v: vec4f, col: u32) -> vec4f {
  let side = side_of(col);
  let i = (col - begin_of(side)) / 4u;
  switch side { ${each('return v + bias$[i];')} }
}` : 'fn biased(v: vec4f, col: u32) -> vec4f { return v; }',
      `// Rows of an operand of attention are padded to tiles.
fn store(side: u32, row: u32, c: u32, v: vec2<u32>) {
  const PAD = max(max(BM, BN), BK);
  let i = row * select((args.groups + PAD - 1u) / PAD * (PAD / 4u), args.Y, side == 0u) + c;
  switch side { ${each('y$[i] = v;')} }
}`,
    ].join('\n'),
    words: layoutWords('nt'),
    grid: ({ M, heads, groups, BM, BN }) => Math.ceil(M! / BM!) * (Math.ceil(heads! / BN!) + 2 * Math.ceil(groups! / BN!)),
  });
}

export const qkvKernels = { plain: product(false, false), bias: product(false, true), turned: product(true, false), turned_bias: product(true, true) };

/** One of the three: see `matrixRows`. `y` [M, O] is not written and stands as the operand in `into` alone. */
export interface Side { w: MatrixWeight; y: Tensor; into: Tensor; slot: number; bias: Tensor | undefined; turn: Turning | undefined }

/**
 * The rows of queries, keys and values of x [M, I] as attention's operands, as `matrixRows` makes each. Returns false, and records nothing, where a weight has no f16 copy, only some have a
 * bias, keys and values are not of one width, a tile cuts heads that are turned, or the adapter binds fewer buffers to a kernel than this one has (8 to 13).
 */
export function matrixQkv(p: Program, x: Tensor, sides: [Side, Side, Side]): boolean {
  const { tile, scales } = p.operands!;
  const [q, k, v] = sides;
  const biased = sides.filter(({ bias }) => bias).length;
  const kernel = qkvKernels[q.turn ? (biased ? 'turned_bias' : 'turned') : biased ? 'bias' : 'plain'];
  const alike = k.w.rows === v.w.rows && (biased === 0 || biased === 3) && Boolean(q.turn) === Boolean(k.turn) && !v.turn && (!q.turn || turnsInProduct(tile, q.turn.C, q.turn.table.shape[1] as number));
  if (!p.gpu.uses('product_qkv') || !alike || sides.some(({ w }) => w.packed instanceof PackedTensor) || kernel.bindings.length > p.gpu.limits.storageBuffers) return false;
  const a = operand(p, x, q.w.slots.input, {});
  const rooms = sides.map(({ w, y, into, slot }) => operandRoom(p, y, slot, w.rows, { layout: 'rows', extraRows: TILE_ROWS, into }));
  const bound = (name: string, of: (side: Side, s: number) => Tensor | undefined): Record<string, Tensor> => Object.fromEntries(sides.flatMap((side, s): Array<[string, Tensor]> => {
    const tensor = of(side, s);
    return tensor ? [[`${name}${s}`, tensor]] : [];
  }));
  const { turn } = q;
  p.run(kernel, {
    a: a.packed, ...bound('b', ({ w }) => w.packed.as([w.packed.elements])), scales, ...bound('bias', ({ bias }) => bias), ...(turn ? { table: turn.table, position: turn.position } : {}), ...bound('y', (_, s) => rooms[s]!.packed),
  }, {
    M: x.shape[0]!, I: q.w.inner, Y: 2 * rooms[0]!.stride, heads: q.w.rows, groups: k.w.rows, count: q.w.rows + 2 * k.w.rows, sa: a.stride, slot_a: q.w.slots.input,
    slot_b: q.w.slots.weight, slot_b1: k.w.slots.weight, slot_b2: v.w.slots.weight, slot: q.slot, slot1: k.slot, slot2: v.slot, ...(turn ? { C: turn.C, turn: turn.first ?? 0 } : {}),
  }, { tune: matrixTune(kernel, tile) });
  sides.forEach(({ y }, s) => p.holdOperand(y, rooms[s]!.key, rooms[s]!.packed, true));
  return true;
}
