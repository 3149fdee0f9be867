import type { MatrixTile } from '../gpu/matrices.js';
import type { ScratchSize } from '../gpu/operand_store.js';
import { headBytes, matrixAttention } from '../gpu/ops/attention_matrix.js';
import { packedBytes } from '../gpu/ops/operand_layout.js';
import type { ModelSpec } from './families/spec.js';

/**
 * Packed operands that stand at once: one as wide as the MLP (or a tile of the vocabulary), in training two where the MLP has a gate; of width D one for each side of a product, the reference's and the rounded
 * states; attention's own, queries and in training the gradient of its output, keys and values, unless those are kept elsewhere (`OperandTensors.heads`).
 */
export function scratchSizes({ D, H, G, C, F, names }: ModelSpec, rows: number, headTile: number, states: number, tile: MatrixTile, training: boolean, headsKept: boolean): ScratchSize[] {
  const wide = packedBytes(rows, Math.max(H * C, F, headTile), tile);
  const narrow = packedBytes(rows, D, tile);
  return [
    { bytes: narrow, count: 2 + states }, { bytes: wide, count: training && names.layers[0]!.gate ? 2 : 1 },
    ...(matrixAttention(C, tile) ? [{ bytes: headBytes(rows, H, C, tile), count: (training ? 1 : 0) + (headsKept ? 0 : 1) }, { bytes: headBytes(rows, G, C, tile), count: headsKept ? 0 : 2 }] : []),
  ];
}

/**
 * Up to so many rows a micro-batch, products read frozen weights of 16 bits or fewer as they are kept; beyond, each is unpacked once before its product. That moves about six
 * bytes a weight, a few per cent of a product of thousands of rows; a workgroup that unpacks for itself does so again for every 128 rows, at some half of its speed on
 * paper (measured on no card yet). No bit depends on it.
 */
export const DIRECT_ROWS = 512;

/** The room in which frozen weights are unpacked one at a time: for the largest of these matrices (of a vocabulary table a tile of the head). */
export const unpackedRoom = (frozen: Array<{ rows: number; inner: number; table: boolean }>, headTile: number, tile: MatrixTile): number =>
  Math.max(0, ...frozen.map(({ rows, inner, table }) => packedBytes(table ? Math.min(rows, headTile) : rows, inner, tile)));

/** Matrices of one layer that multiply in f16. */
export const layerMatrices = ({ names }: ModelSpec): number => (names.layers[0]!.gate ? 7 : 6);
