import { EdpoError } from '../../errors.js';
import { defineKernel, type Kernel } from '../kernel.js';
import type { MatrixTile } from '../matrices.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';
import { TILE_ROWS } from './attention_tiles.js';
import { weightSide } from './matmul_matrix.js';
import { ARGS, common, frozenSuffix, matrixTune, operandBindings, perFrozen, type Frozen } from './matmul_matrix_kernels.js';
import type { MatrixWeight } from './operand_layout.js';
import { operand, operandRoom } from './pack_f16.js';

/*
 * Products of matmul_matrix.ts whose result is an operand of attention_matrix.ts: queries, keys and values leave as f16 rows (lib/result_rows.wgsl) with their bias, turned by their positions.
 */

/** NT into an operand of attention, row by row (lib/result_rows.wgsl). */
function rowsProduct(turns: boolean, bias: boolean, of: Frozen): Kernel {
  const { prelude, words, tiles } = common('nt', of);
  return defineKernel({
    name: `matmul.matrix_nt_rows${turns ? '_turned' : ''}${bias ? '_bias' : ''}${frozenSuffix(of)}`,
    shader: 'matmul.matrix',
    matrices: true,
    snippets: { 'lib/result_f32': 'lib/result_rows' },
    read: { ...operandBindings(of), ...(bias ? { bias: '_ :vec4f' } : {}), ...(turns ? { table: 'T R :vec4f', position: '_ :u32' } : {}) },
    write: { y: '_ :vec2<u32>' },
    args: { ...ARGS, slot: 'u32', ...(turns ? { C: 'u32', R: 'u32', turn: 'u32' } : {}) },
    tune: { TURNS: turns ? 1 : 0 },
    prelude: `${prelude}\nfn biased(v: vec4f, col: u32) -> vec4f { return v${bias ? ' + bias[col / 4u]' : ''}; }`,
    words,
    grid: tiles,
  });
}

export const rowsKernels = perFrozen((of) => ({ rows: rowsProduct(false, false, of), rows_bias: rowsProduct(false, true, of), rows_turned: rowsProduct(true, false, of), rows_turned_bias: rowsProduct(true, true, of) }));

/** How heads are turned by their rows' positions: see `rope`. */
export interface Turning { table: Tensor; position: Tensor; C: number; first?: number }

/** Can a product turn heads of C columns, the first R of each: are they whole in a tile, and their pairs by fours? */
export const turnsInProduct = (t: MatrixTile, C: number, R: number): boolean => t.BN % C === 0 && R % 8 === 0;

/**
 * The rows of heads x·Wᵀ (+ bias), turned where they are, as an operand that attention multiplies, in `into`; y [M, O] itself is not written and stands as that operand alone. The bits
 * are those of the product in f32, turned by `rope` and packed for `slot`.
 */
export function matrixRows(p: Program, { x, w, y, into }: { x: Tensor; w: MatrixWeight; y: Tensor; into: Tensor }, slot: number, o: { bias?: Tensor | undefined; turn?: Turning | undefined } = {}): void {
  const { tile, scales } = p.operands!;
  const { turn, bias } = o;
  if (turn && !turnsInProduct(tile, turn.C, turn.table.shape[1] as number)) throw new EdpoError(`heads of ${turn.C} columns, ${String(turn.table.shape[1])} of them turned, do not lie whole in tiles of ${tile.BN}`);
  const a = operand(p, x, w.slots.input, {});
  const { key, packed, stride } = operandRoom(p, y, slot, w.rows, { layout: 'rows', extraRows: TILE_ROWS, into });
  const { of, bound } = weightSide(p, w, { first: 0, count: w.rows });
  const kernel = rowsKernels(of)[`rows${turn ? '_turned' : ''}${bias ? '_bias' : ''}`];
  p.run(kernel, { a: a.packed, ...bound, scales, y: packed, ...(bias ? { bias } : {}), ...(turn ? { table: turn.table, position: turn.position } : {}) }, {
    M: x.shape[0]!, I: w.inner, Y: 2 * stride, first: 0, count: w.rows, sa: a.stride, sb: w.stride, slot_a: w.slots.input, slot_b: w.slots.weight, slot, ...(turn ? { C: turn.C, turn: turn.first ?? 0 } : {}),
  }, { tune: matrixTune(kernel, tile) });
  p.holdOperand(y, key, packed, true);
}
