import { defineKernel, type Kernel } from '../kernel.js';
import type { Program } from '../program.js';
import type { Tensor } from '../tensor.js';
import type { AttentionOptions } from './attention.js';
import { TILE_ROWS, type AttentionPass } from './attention_tiles.js';

/*
 * The tiled f32 back end of attention.ts: BM rows of a tile against blocks of the others staged in workgroup memory, the same lists and the same order of blocks as
 * attention_matrix.ts.
 */

/** How a workgroup works: NT threads across a block of 4 NT rows, each with RM of the tile's BM rows. */
export interface TiledTile { NT: number; RM: number; BM: number }

/** Blocks of rows and squares of scores that a pass keeps in workgroup memory, and sums of its own for every row and column. */
const SHARED: Record<AttentionPass, { blocks: number; squares: number; sums: number }> = { fwd: { blocks: 1, squares: 1, sums: 1 }, dq: { blocks: 2, squares: 1, sums: 1 }, dkv: { blocks: 2, squares: 2, sums: 2 } };

/** Bytes of workgroup memory a pass takes. */
export function tiledSharedBytes(pass: AttentionPass, C: number, { NT, BM }: TiledTile): number {
  const { blocks, squares } = SHARED[pass];
  return 16 * (blocks * 4 * NT * (C / 4 + 1) + squares * BM * (NT + 1)) + (pass === 'fwd' ? 8 * BM : pass === 'dkv' ? 32 * NT : 0);
}

const CHOICES: TiledTile[] = [{ NT: 8, RM: 4, BM: 64 }, { NT: 8, RM: 2, BM: 32 }, { NT: 4, RM: 2, BM: 32 }, { NT: 4, RM: 1, BM: 32 }, { NT: 4, RM: 1, BM: 16 }, { NT: 2, RM: 1, BM: 16 }];
/** Sums that a thread has room for. */
const MOST_SUMS = 64;

/** The largest tile with room for a thread's sums and in workgroup memory; undefined where none is, and for heads that are no vec4s. */
export function tiledTile(pass: AttentionPass, C: number, limits: { workgroupInvocations: number; workgroupBytes: number }): TiledTile | undefined {
  if (C % 4 !== 0) return undefined;
  const fits = CHOICES.filter((c) => (c.BM / c.RM) * c.NT <= limits.workgroupInvocations && tiledSharedBytes(pass, C, c) <= limits.workgroupBytes);
  return fits.find(({ NT, RM }) => (SHARED[pass].sums * RM * C) / NT <= MOST_SUMS) ?? fits.find(({ NT, RM }) => (SHARED[pass].sums * RM * C) / NT <= 2 * MOST_SUMS);
}

const args = { T: 'u32', H: 'u32', G: 'u32', scale: 'f32', softCap: 'f32', window: 'u32' } as const;
const q = 'N H*C:vec4f';
const k = 'N G*C:vec4f';
const tiles = 'T 8 :vec4<u32>';
const given = { q, k, v: k, tiles, lse: 'N H', dout: q, delta: 'N H' };
const grid = (heads: 'H' | 'G') => (n: Record<string, number>): number => n['T']! * n['PARTS']! * n[heads]!;

export const tiledKernels: Record<AttentionPass, Kernel> = {
  fwd: defineKernel({ name: 'attention.tiled_fwd', read: { q, k, v: k, tiles }, write: { o: q, lse: 'N H' }, args, grid: grid('H') }),
  dq: defineKernel({ name: 'attention.tiled_dq', read: given, write: { dq: q }, args, grid: grid('H') }),
  dkv: defineKernel({ name: 'attention.tiled_dkv', read: given, write: { dk: k, dv: k }, args, grid: grid('G') }),
};

/** The constants of a pass's shader. */
export function tiledTune(C: number, { NT, RM, BM }: TiledTile): Record<string, number> {
  const E = C / 4;
  return { TILE_ROWS, NT, RM, BM, BN: 4 * NT, WG: (BM / RM) * NT, E, CV: Math.ceil(E / NT), PARTS: TILE_ROWS / BM, PITCH_K: E + 1, SIZE_K: 4 * NT * (E + 1), PITCH_S: NT + 1, SIZE_S: BM * (NT + 1) };
}

/** Records one pass. */
export function attentionTiled(p: Program, pass: AttentionPass, t: Record<string, Tensor>, { H, G, C, scale, softCap, window }: AttentionOptions): void {
  p.run(tiledKernels[pass], t, { H, G, C, scale, softCap, window }, { tune: tiledTune(C, tiledTile(pass, C, p.gpu.limits)!) });
}
