import type { MatrixTile } from '../matrices.js';
import { TILE_ROWS, type AttentionPass } from './attention_tiles.js';

/* How the passes of attention_matrix.ts cut their work: the usual tiles, what fits, what another tile would change. */

/** How a workgroup works: BM rows of a tile in WM groups of subgroups, blocks of BN rows and the head's columns in WN; PAD vec4s behind a row of scores; REG: the tile's own operands stay in registers. */
export interface AttentionTile { BM: number; BN: number; WM: number; WN: number; PAD: number; REG: number }

/**
 * Operands and squares that a pass keeps in workgroup memory: f32 scores, in whose place their f16 numbers stand once they are read. Memory is what counts: where it lets one
 * workgroup at a time on a processor, four subgroups wait for their own loads and barriers (docs/measurements.md).
 */
const SHARED: Record<AttentionPass, { operands: number; squares: number }> = { fwd: { operands: 1, squares: 1 }, dq: { operands: 2, squares: 2 }, dkv: { operands: 2, squares: 2 } };

/** Bytes of workgroup memory a pass takes. */
export function attentionSharedBytes(pass: AttentionPass, C: number, { BM, BN, WM, WN, PAD }: AttentionTile): number {
  const { operands, squares } = SHARED[pass];
  const rows = pass === 'fwd' ? 4 * BM + 4 * WM * WN : pass === 'dkv' ? 8 * BN : 0;
  return 16 * operands * BN * (C / 8 + 1) + 16 * squares * BM * (BN / 4 + PAD) + rows;
}

/** By preference; for heads up to `most` wide, up to 128 in less than 32 KB where the matrices divide them so. What is wider splits its columns among subgroups, since a lane has no room for all sums; of 64 lanes two take such a tile, for at most four may share a row's block of 32. */
const CHOICES: Record<AttentionPass, Array<{ most: number } & AttentionTile>> = {
  fwd: [
    { most: 64, BM: 64, BN: 64, WM: 4, WN: 1, PAD: 2, REG: 1 },
    { most: 128, BM: 64, BN: 32, WM: 4, WN: 1, PAD: 2, REG: 1 },
    { most: 256, BM: 32, BN: 32, WM: 2, WN: 2, PAD: 2, REG: 0 },
    { most: 256, BM: 32, BN: 32, WM: 1, WN: 2, PAD: 2, REG: 0 },
  ],
  dq: [
    { most: 64, BM: 64, BN: 32, WM: 4, WN: 1, PAD: 2, REG: 1 },
    { most: 128, BM: 32, BN: 32, WM: 2, WN: 2, PAD: 2, REG: 1 },
    { most: 128, BM: 64, BN: 32, WM: 4, WN: 1, PAD: 2, REG: 1 },
    { most: 256, BM: 32, BN: 32, WM: 2, WN: 2, PAD: 2, REG: 0 },
    { most: 256, BM: 32, BN: 32, WM: 1, WN: 2, PAD: 2, REG: 0 },
  ],
  dkv: [
    { most: 64, BM: 64, BN: 32, WM: 4, WN: 1, PAD: 2, REG: 1 },
    { most: 128, BM: 32, BN: 32, WM: 2, WN: 2, PAD: 2, REG: 1 },
    { most: 128, BM: 64, BN: 32, WM: 4, WN: 1, PAD: 2, REG: 0 },
    { most: 256, BM: 32, BN: 32, WM: 2, WN: 2, PAD: 1, REG: 0 },
    { most: 256, BM: 32, BN: 32, WM: 1, WN: 2, PAD: 1, REG: 0 },
  ],
};

/** Can heads of width C run in these matrices with this tile? */
export function attentionTileFits(C: number, { MM, MN, MK, SG }: MatrixTile, { BM, BN, WM, WN }: AttentionTile): boolean {
  const lanes = (WM * WN * SG) / BM;
  return C % 8 === 0 && C % MK === 0 && C % (WN * MN) === 0 && TILE_ROWS % BM === 0 && TILE_ROWS % BN === 0 && BM % (WM * MM) === 0 && BN % (WN * MN) === 0 && BN % MK === 0
    && Number.isInteger(lanes) && (lanes & (lanes - 1)) === 0 && SG % lanes === 0 && (BN / 8) % lanes === 0;
}

/** Those of a pass that fit heads of width C; one matrix each way where a processor plays the GPU (see `tileFor`). */
function choices(pass: AttentionPass, C: number, t: MatrixTile): AttentionTile[] {
  const list = t.SG >= 16 ? CHOICES[pass] : [{ most: 256, BM: t.MM, BN: Math.max(t.MN, t.MK), WM: 1, WN: 1, PAD: 2, REG: 0 }];
  return list.filter((c) => C <= c.most && attentionTileFits(C, t, c)).map(({ most: _, ...tile }) => tile);
}

/** The rule: heads up to 256 wide whose width the matrices divide (in two halves above 128) take this back end, for all three passes; others the plain kernels. */
export const matrixAttention = (C: number, t: MatrixTile): boolean => (Object.keys(CHOICES) as AttentionPass[]).every((pass) => choices(pass, C, t).length > 0);

interface Limits { workgroupInvocations: number; workgroupBytes: number }

/** The usual tile of a pass: the first choice that the limits allow. */
export function attentionTile(pass: AttentionPass, C: number, t: MatrixTile, limits: Limits): AttentionTile {
  const list = choices(pass, C, t);
  return list.find((c) => c.WM * c.WN * t.SG <= limits.workgroupInvocations && attentionSharedBytes(pass, C, c) <= limits.workgroupBytes) ?? list.at(-1)!;
}

/** Sums, scores and operands of its own that a lane keeps in registers: above some 208 it has no room for them. */
export function attentionRegisters(pass: AttentionPass, C: number, { MM, MN, MK, SG }: MatrixTile, { BM, BN, WM, WN, REG }: AttentionTile): number {
  const lane = (MM * MN) / SG;
  const sides = pass === 'fwd' ? 1 : 2;
  return (BM / WM / MM) * ((pass === 'dkv' ? 2 : 1) * (C / WN / MN) * lane + sides * (BN / WN / MN) * lane + (REG * sides * (C / MK) * MM * MK) / 2 / SG);
}

/**
 * Why a pass may not take this tile in place of its usual one, if so: it does not fit, or it would move bits. Forward a row's softmax goes by blocks of BN keys, and its sum by the lanes
 * that share a row; dk and dv are summed head after head within a block of BN queries; dq in the order of its keys whatever the tile.
 */
export function attentionRefusal(pass: AttentionPass, C: number, t: MatrixTile, tile: AttentionTile, limits: Limits): string | undefined {
  if (!matrixAttention(C, t) || !attentionTileFits(C, t, tile)) return `a tile of ${tile.BM}x${tile.BN} for ${tile.WM}x${tile.WN} subgroups does not fit heads of ${C}`;
  if (tile.WM * tile.WN * t.SG > limits.workgroupInvocations) return `${tile.WM * tile.WN * t.SG} lanes are over the adapter's ${limits.workgroupInvocations}`;
  const [bytes, registers, usual] = [attentionSharedBytes(pass, C, tile), attentionRegisters(pass, C, t, tile), attentionTile(pass, C, t, limits)];
  if (bytes > limits.workgroupBytes) return `${bytes} bytes of workgroup memory are over the adapter's ${limits.workgroupBytes}`;
  if (registers > 208) return `a lane would keep ${registers} numbers`;
  const lanes = (x: AttentionTile): number => (x.WM * x.WN * t.SG) / x.BM;
  const moves = pass === 'fwd' ? tile.BN !== usual.BN || lanes(tile) !== lanes(usual) : pass === 'dkv' && tile.BN !== usual.BN;
  return moves ? `a tile of ${tile.BM}x${tile.BN} for ${tile.WM}x${tile.WN} subgroups sums in another order than ${usual.BM}x${usual.BN} for ${usual.WM}x${usual.WN}` : undefined;
}

/** The constants of a pass's shader. */
export function attentionTune(C: number, m: MatrixTile, t: AttentionTile): Record<string, number> {
  const WG = t.WM * t.WN * m.SG;
  const LPR = WG / t.BM;
  return {
    C, TILE_ROWS, BM: t.BM, BN: t.BN, WN: t.WN, MM: m.MM, MN: m.MN, MK: m.MK, SG: m.SG, WG, LPR, SUBGROUPS: t.WM * t.WN, PARTS: TILE_ROWS / t.BM,
    TM: t.BM / t.WM / m.MM, TN: t.BN / t.WN / m.MN, TC: C / t.WN / m.MN, KC: C / m.MK, REG: t.REG, MEM: 1 - t.REG, PAIRS: t.BN / 8 / LPR, LOADS: Math.ceil((t.BN * C) / 8 / WG),
    ROW: C / 8, PITCH_K: C / 8 + 1, SIZE_K: t.BN * (C / 8 + 1), PITCH_S: t.BN / 4 + t.PAD, SIZE_S: t.BM * (t.BN / 4 + t.PAD),
  };
}
