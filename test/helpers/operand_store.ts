import { encode16, decode16 } from '../../src/model/files/float_formats.js';
import { OperandStore } from '../../src/gpu/operand_store.js';
import type { MatrixTile } from '../../src/gpu/matrices.js';
import { packedBytes } from '../../src/gpu/ops/operand_layout.js';
import type { Tensor } from '../../src/gpu/tensor.js';

/** Slots of a store for one weight and what meets it, and the powers of two in them. */
export const SLOTS = { weight: 0, input: 1, gradient: 2 };
export const SCALES = [2, 0.25, 1024];

/** What f16 keeps of numbers times a scale. */
export const half = (x: Float32Array, scale: number): Float32Array => decode16(encode16(x.map((v) => v * scale), 'F16'), 'F16').map((v) => v / scale);

/** f16 operands of these weights and their gradients [O, I], of inputs and gradients of `rows` rows and at most `widest` columns; `room` for frozen weights. */
export function operandStore(tile: MatrixTile, weights: Array<{ w: Tensor; dw?: Tensor | undefined }>, rows: number, widest: number, room = 0): OperandStore {
  const s = new OperandStore(weights[0]!.w.gpu, tile, 3, [{ bytes: packedBytes(rows, widest, tile), count: 3 }], true, room);
  s.scales.write(Float32Array.from(SCALES));
  s.lossScale!.write(Float32Array.of(4096, 0, 0, 0));
  for (const { w, dw } of weights) s.add(w, dw, SLOTS);
  return s;
}
