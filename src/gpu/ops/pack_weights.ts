import type { MatrixTile } from '../matrices.js';
import { PackedTensor } from '../packed.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';
import { padding, type MatrixWeight } from './operand_layout.js';
import { by, packFrom } from './pack_f16.js';
import { weightTensors } from './weights.js';

/*
 * Weights as operands of matmul_matrix.ts: those in f32 have a copy, packed when they have changed. A frozen weight in fewer bits has none: its products read it as it is kept,
 * or first have it unpacked into a room they share.
 */

const COPY = 'copy';
/** What was recorded last wrote a weight's values and their f16 copy alike. */
/** The f16 copy that what writes these values may write with them. */
export const copyOf = (p: Program, value: Tensor): MatrixWeight | undefined => {
  const w = p.operands?.weight(value);
  return w?.apart ? undefined : w;
};
export const holdCopy = (p: Program, value: Tensor, w: MatrixWeight): void => p.holdOperand(value, COPY, w.packed);

/** Records the making of a weight's f16 copy from its values [rows, inner], if it has one, unless what wrote them in this program made it too, or it is made with others. */
export function packWeight(p: Program, value: Tensor, w: MatrixWeight, o: { tile: MatrixTile; scales: Tensor }): void {
  if (w.apart || w.packed instanceof PackedTensor || p.heldOperand(value, COPY) === w.packed) return;
  p.run(packFrom.f32[by(p, w.inner)], { x: value, scales: o.scales, packed: w.packed.as([w.packed.elements]) }, { M: w.rows, I: w.inner, Y: w.inner, W: w.stride, slot: w.slots.weight }, { tune: padding(o.tile) });
}

/** The f16 operand of `count` rows of a frozen weight from `first` on, made in the store's room unless it stands there already. */
export function unpackWeight(p: Program, weight: PackedTensor, w: Omit<MatrixWeight, 'packed'>, { first, count }: { first: number; count: number }): Tensor {
  const { room, tile, scales } = p.operands!;
  const key = `${COPY} ${first} ${count}`;
  const held = p.heldOperand(weight, key);
  if (held) return held;
  p.run(packFrom[weight.format][by(p, w.inner)], { ...weightTensors('x', weight), scales, packed: room! }, { M: count, I: w.inner, Y: w.inner, W: w.stride, slot: w.slots.weight, first }, { tune: padding(tile) });
  p.holdOperand(weight, key, room!);
  return room!;
}
