import type { MatrixTile } from '../gpu/matrices.js';
import type { ScratchSize } from '../gpu/operand_store.js';
import { adapterTableBytes } from '../gpu/ops/adapter_operands.js';
import { matrixChunk } from '../gpu/ops/matmul_matrix.js';
import { tiledPlan } from '../gpu/ops/matmul_tiled.js';
import { headBytes } from '../gpu/ops/attention_matrix.js';
import { matrixAttention } from '../gpu/ops/attention_matrix_tile.js';
import { packedBytes } from '../gpu/ops/operand_layout.js';
import type { Paths } from '../gpu/paths.js';
import { layCopies } from './adapter_operands.js';
import type { ModelSpec, ParameterSpec } from './families/spec.js';
import { adapterName, isAdapterMatrix } from './lora.js';
import type { OperandTensors } from './operand_tensors.js';

/**
 * Packed operands that stand at once: one as wide as the MLP (or a tile of the vocabulary), in training two where the MLP has a gate, three where its gradients leave their product; of width D one for each side of a product, the reference's and the rounded
 * states; attention's own, queries and in training the gradient of its output, keys and values, unless those are kept elsewhere (`OperandTensors.heads`); inner states of adapters of this `rank` (0: there are none, or they have room of their own).
 */
export function scratchSizes({ D, H, G, C, F, names }: ModelSpec, rows: number, headTile: number, states: number, tile: MatrixTile, training: boolean, { heads, dact }: Pick<OperandTensors, 'heads' | 'dact'>, rank = 0): ScratchSize[] {
  const wide = packedBytes(rows, Math.max(H * C, F, headTile), tile);
  const narrow = packedBytes(rows, D, tile);
  const [mlp, inner] = [F, rank].map((columns) => packedBytes(rows, columns, tile)) as [number, number];
  const ofMlp = training && names.layers[0]!.gate ? (dact ? 3 : 2) : 1;
  // The MLP's own take the smallest that are as wide as they: those of D or of a rank, or the wide ones.
  const least = Math.min(...[narrow, ...(rank > 0 ? [inner] : [])].filter((bytes) => bytes >= mlp));
  return [
    ...(rank > 0 ? [{ bytes: inner, count: (training ? 3 : 1) + (inner === least && inner !== narrow ? ofMlp : 0) }] : []),
    { bytes: narrow, count: 2 + states + (narrow === least ? ofMlp : 0) }, { bytes: wide, count: ofMlp },
    ...(matrixAttention(C, tile) ? [{ bytes: headBytes(rows, H, C, tile), count: (training ? 1 : 0) + (heads ? 0 : 1) }, { bytes: headBytes(rows, G, C, tile), count: heads ? 0 : 2 }] : []),
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

/** Bytes of the copies of adapters' matrices and their tables, of those among an adapter's tensors. */
export function adapterBytes(list: ParameterSpec[], tile: MatrixTile): number {
  const matrices = list.filter((p) => isAdapterMatrix(p.name)).map((p) => ({ rows: p.shape[0]!, inner: p.shape[1]!, bounded: p.name.includes('.lora_A.') }));
  // As they are laid: every A before the first B.
  const laid = [true, false].flatMap((A) => matrices.filter(({ bounded }) => bounded === A));
  return layCopies(laid, tile, Infinity).reduce((n, { bytes }) => n + bytes, 0) + matrices.reduce((n, { rows, inner, bounded }) => n + adapterTableBytes(rows, inner, bounded, tile), 0);
}

/** Matrices of one layer that multiply in f16. */
export const layerMatrices = ({ names }: ModelSpec): number => (names.layers[0]!.gate ? 7 : 6);

/** How the products of gradients with inputs are made, dW [O, I] over the rows of a micro-batch. */
export interface GradientProducts {
  rows: number;
  /** Columns of a tile of the head's logits. */
  headTile: number;
  /** In mixed precision the matrices' tile; whether adapters multiply in them too. */
  mixed: MatrixTile | undefined;
  adapters: boolean;
  /** Plain products go by tiles. */
  tiled: boolean;
}

/** Elements of the sums of ranges (ops/split_sum.ts) of the largest dW among these trained tensors that is made so; 0 where none is. */
export function splitElements(trained: ParameterSpec[], { names, tied, V, D }: ModelSpec, paths: Paths, o: GradientProducts): number {
  if (!paths.uses('split_sums')) return 0;
  const head = tied ? names.embed : names.head;
  const tiled = o.tiled && paths.uses('products_tiled');
  const elements = ([count, I]: [number, number], half: boolean): number => {
    const chunk = half ? matrixChunk(o.mixed!, o.rows, count, I) : tiled ? tiledPlan('tn', count, I, o.rows).chunk : o.rows;
    return chunk < o.rows ? Math.ceil(o.rows / chunk) * count * I : 0;
  };
  return Math.max(0, ...trained.flatMap(({ name, shape, table }) => {
    // Of a vector, of embeddings, of learned positions there is no product.
    if (shape.length !== 2 || name === names.positions) return [];
    const half = o.mixed !== undefined && (o.adapters || !isAdapterMatrix(name));
    if (!table) return [elements(shape as [number, number], half)];
    if (name !== head && name !== adapterName(head, 'saved')) return [];
    return [Math.min(V, o.headTile), V % o.headTile].filter((count) => count > 0).map((count) => elements([count, D], half));
  }));
}
