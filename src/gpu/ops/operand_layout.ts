import { blockOf, type MatrixTile } from '../matrices.js';
import type { Tensor } from '../tensor.js';

/*
 * What a packed operand of the f16 matrices is, and where a program finds its own: the host's half of lib/operand_layout.wgsl. pack_f16.ts makes them.
 */

/** What of a weight [rows, inner] its products multiply, and the slots of the scales they use. */
export interface MatrixWeight {
  /** Its f16 copy [rows, width] with its padding; of a weight frozen in 16 bits or fewer that weight itself (`PackedTensor`). */
  packed: Tensor;
  rows: number;
  inner: number;
  /** vec4s of a row of it, as it is packed or would be. */
  stride: number;
  /** Its scale follows its values, and its copy is made when both are known: not by what writes the values. */
  apart?: boolean;
  slots: { weight: number; input: number; gradient: number };
}

/** The slots of the scales of one layer's attention: what it multiplies, and the gradients of its output and of its scores. */
export interface AttentionSlots { q: number; k: number; v: number; dout: number; ds: number }

/** A layer's queries, keys and values as attention multiplies them: packed row by row, with TILE_ROWS more (lib/operand_rows.wgsl). */
export interface HeadOperands { q: Tensor; k: Tensor; v: Tensor }

/** Where a program's matrix products find their operands; made by model/operands.ts. */
export interface MatrixOperands {
  tile: MatrixTile;
  /** [slots]: the power of two each operand is multiplied by. */
  scales: Tensor;
  /** Largest magnitudes of the gradient operands since the last optimiser step, as bits; absent where none is trained. */
  peaks: Tensor | undefined;
  lossScale: Tensor | undefined;
  /** By the weight's value or gradient. */
  weight(of: Tensor): MatrixWeight | undefined;
  /** By the value of the layer's query weight. */
  attention(queryWeight: Tensor): AttentionSlots | undefined;
  /** Where frozen weights are unpacked for one product at a time; absent, products read them as they are kept. */
  room: Tensor | undefined;
  /** A buffer for `bytes` of packed operand that none of `busy` uses. */
  scratch(bytes: number, busy: GPUBuffer[]): Tensor;
  /** Whether `scratch` has room for operands of all these sizes at once. */
  fits(sizes: number[], busy: GPUBuffer[]): boolean;
  /** A packed operand is used again: it should stand for longer. */
  touch(packed: Tensor): void;
}

/** Rows and columns of operands are padded to this. */
export const padOf = (t: MatrixTile): number => Math.max(t.BM, t.BN, t.BK);
export const padded = (n: number, t: MatrixTile): number => Math.ceil(n / padOf(t)) * padOf(t);
/** The constants of a kernel that writes operands: where their padding ends, how they stand. */
export const padding = (t: MatrixTile): Record<string, number> => ({ TILE: padOf(t), BLOCK: blockOf(t) });
/** n up to the edge of a tile of operands, as `padding` has it: on the host, and of an argument in WGSL. */
export const toEdge = (n: number, TILE: number): number => Math.ceil(n / TILE) * TILE;
export const argToEdge = (name: string): string => `(args.${name} + TILE - 1u) / TILE * TILE`;
/** Bytes of a packed operand. */
export const packedBytes = (rows: number, columns: number, t: MatrixTile): number => 2 * padded(rows, t) * padded(columns, t);
