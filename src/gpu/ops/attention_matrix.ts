import { defineKernel, type Kernel } from '../kernel.js';
import type { MatrixTile } from '../matrices.js';
import type { Program } from '../program.js';
import { Dyn, type Tensor } from '../tensor.js';
import type { AttentionOptions } from './attention.js';
import { attentionTile, attentionTune, type AttentionTile } from './attention_matrix_tile.js';
import { TILE_ROWS, type AttentionPass } from './attention_tiles.js';
import { packedBytes, padded, type AttentionSlots } from './operand_layout.js';
import { operand, scaleMeasured, WATCHED, type Operand } from './pack_f16.js';

/*
 * The `subgroup-matrix` back end of attention.ts (Dao 2023, arXiv 2307.08691, without atomics): tiles of query rows against blocks of keys, and for dk and dv tiles of
 * keys against blocks of queries. q, k, v, dout, the softmax's numbers and ds are f16 times powers of two, sums, softmax, lse and delta f32.
 */

const args = { T: 'u32', H: 'u32', G: 'u32', sq: 'u32', sk: 'u32', scale: 'f32', softCap: 'f32', window: 'u32', slot_q: 'u32', slot_k: 'u32', slot_v: 'u32', slot_do: 'u32', slot: 'u32' } as const;
const operands = { q: '_ :vec4<u32>', k: '_ :vec4<u32>', v: '_ :vec4<u32>' };
const lists = { tiles: 'T 8 :vec4<u32>', scales: 'K' };
const given = { ...operands, dout: '_ :vec4<u32>', lse: 'N H', delta: 'N H', ...lists };
const wide = (heads: string): string => `N ${heads}*C:vec4f`;

export const attentionKernels: Record<AttentionPass, Kernel> = {
  fwd: defineKernel({ name: 'attention.matrix_fwd', matrices: true, read: { ...operands, ...lists }, write: { o: wide('H'), lse: 'N H' }, args, grid: ({ T, H, PARTS }) => T! * PARTS! * H! }),
  dq: defineKernel({
    name: 'attention.matrix_dq', matrices: true, read: given, write: { dq: wide('H') }, update: { peaks: 'K :atomic<u32>' }, args: { ...args, run: 'u32' }, prelude: WATCHED,
    words: { OWN_A: 'q', OWN_B: 'dout', OWN_STRIDE: 'args.sq', BLOCK_A: 'keys', BLOCK_B: 'values' },
    grid: ({ T, H, PARTS, run }) => (run ? T! * PARTS! * H! : 0),
  }),
  dkv: defineKernel({
    name: 'attention.matrix_dkv', matrices: true, read: given, write: { dk: wide('G'), dv: wide('G') }, args, grid: ({ T, G, PARTS }) => T! * PARTS! * G!,
    words: { OWN_A: 'k', OWN_B: 'v', OWN_STRIDE: 'args.sk', BLOCK_A: 'queries', BLOCK_B: 'douts' },
  }),
};

/** What both directions are given; `slots` are the scales of this layer's operands, `kept` where they stand from the forward pass on, `choice` the tiles of a benchmark. */
export interface MatrixAttention extends AttentionOptions { slots: AttentionSlots; choice?: Partial<Record<AttentionPass, AttentionTile>> | undefined }

function record(p: Program, pass: AttentionPass, o: MatrixAttention, of: { q: Operand; k: Operand; v: Operand; dout?: Operand }, t: Record<string, Tensor>, more: { run?: number | Dyn } = {}): void {
  const { H, G, C, scale, softCap, window, slots } = o;
  const { tile, scales } = p.operands!;
  const packed = Object.fromEntries(Object.entries(of).map(([name, { packed }]) => [name, packed]));
  p.run(attentionKernels[pass], { ...t, ...packed, scales }, {
    H, G, C, scale, softCap, window, sq: of.q.stride, sk: of.k.stride, slot_q: slots.q, slot_k: slots.k, slot_v: slots.v, slot_do: slots.dout, slot: slots.ds, ...more,
  }, { tune: attentionTune(C, tile, o.choice?.[pass] ?? p.gpu.tuned?.attention?.[C]?.[pass] ?? attentionTile(pass, C, tile, p.gpu.limits)) });
}

/** Packs queries, keys and values; a tile's last rows are read past the batch. */
function operandsOf(p: Program, t: { q: Tensor; k: Tensor; v: Tensor }, { slots, kept }: MatrixAttention): { q: Operand; k: Operand; v: Operand } {
  const rows = { layout: 'rows', extraRows: TILE_ROWS } as const;
  const q = operand(p, t.q, slots.q, { ...rows, into: kept?.q });
  const k = operand(p, t.k, slots.k, { ...rows, into: kept?.k, busy: [q] });
  return { q, k, v: operand(p, t.v, slots.v, { ...rows, into: kept?.v, busy: [q, k] }) };
}

/** What the forward pass has kept. */
function keptOperands(p: Program, { H, G, C, kept }: MatrixAttention): { q: Operand; k: Operand; v: Operand } | undefined {
  const of = (packed: Tensor, heads: number): Operand => ({ packed, stride: padded(heads * C, p.operands!.tile) / 8 });
  return kept && { q: of(kept.q, H), k: of(kept.k, G), v: of(kept.v, G) };
}

/** Bytes of `heads` heads of C columns as one such operand. */
export const headBytes = (rows: number, heads: number, C: number, tile: MatrixTile): number => packedBytes(rows + TILE_ROWS, heads * C, tile);

/** See `attention`. */
export function attentionMatrix(p: Program, t: { q: Tensor; k: Tensor; v: Tensor; tiles: Tensor; o: Tensor; lse: Tensor }, options: MatrixAttention): void {
  record(p, 'fwd', options, operandsOf(p, t, options), { tiles: t.tiles, o: t.o, lse: t.lse });
}

/** See `attentionBackward`; `delta` is there already. Where scales are measured, dq runs once more before for the magnitude of ds. */
export function attentionMatrixBackward(p: Program, t: { q: Tensor; k: Tensor; v: Tensor; tiles: Tensor; lse: Tensor; do: Tensor; delta: Tensor; dq: Tensor; dk: Tensor; dv: Tensor }, options: MatrixAttention): void {
  const { slots } = options;
  const { tiles, lse, delta, dq, dk, dv } = t;
  const { q, k, v } = keptOperands(p, options) ?? operandsOf(p, t, options);
  const dout = operand(p, t.do, slots.dout, { layout: 'rows', extraRows: TILE_ROWS, busy: [q, k, v], gradient: true });
  const all = { q, k, v, dout };
  const peaks = p.operands!.peaks!;
  record(p, 'dq', options, all, { tiles, lse, delta, dq, peaks }, { run: new Dyn('measureScales', 0) });
  scaleMeasured(p, slots.ds);
  record(p, 'dq', options, all, { tiles, lse, delta, dq, peaks }, { run: 1 });
  record(p, 'dkv', options, all, { tiles, lse, delta, dk, dv });
}
