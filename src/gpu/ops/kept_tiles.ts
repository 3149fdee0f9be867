import type { Gpu } from '../device.js';
import { Tensor, type Extent } from '../tensor.js';

/*
 * Tiles of logits that the forward pass keeps for the backward pass, instead of having them made again: f - top in f16, top the largest logit of the row up to and with these
 * columns' fold, in f32. Near the top, where probabilities are, f16 is finest; e^(f - LSE) is off by at most |f - top| 2^-11 of itself, 1.8e-4 of a probability of 1 at worst.
 */

/** Which tiles are kept: none, the policy's, or the reference's too (where the loss has a gradient through KL). */
export const HEAD_TILES = ['recomputed', 'kept', 'kept_both'] as const;
export type HeadTiles = (typeof HEAD_TILES)[number];

/** The binding of a kept tile: rows of KW words. */
export const KEPT = 'S KW :vec2<u32>';

const fours = (count: number): number => Math.ceil(count / 4);
/** Words of a row that keeps `count` columns folded by `fold`. */
const keptWords = (count: number, fold: number): number => 2 * (fours(count) + Math.ceil(Math.ceil(count / fold) / 2));

/** Bytes of the tiles that are kept of so many rows and columns; `width` columns a tile. None of a vocabulary of one tile, which stands anyway. */
export function keptBytes(rows: number, V: number, width: number, tiles: HeadTiles, fold: number): number {
  if (tiles === 'recomputed' || V <= width) return 0;
  const words = Math.floor(V / width) * keptWords(width, fold) + keptWords(V % width, fold);
  return (tiles === 'kept_both' ? 2 : 1) * 4 * rows * words;
}

export const keptTile = (gpu: Gpu, label: string, S: Extent, count: number, fold: number): Tensor => new Tensor(gpu, label, [S, keptWords(count, fold)], 'u32');

/** The argument of its kernels besides its width: vec2s of a row before its tops. */
export const keptArgs = (count: number): { fours: number } => ({ fours: fours(count) });

/** WGSL of `NAME4(s, v)`, columns v ... v + 3 of row s (v rounded down to fours) of what binding NAME_kept keeps. */
export const keptCode = (name: string): string => `fn ${name}4(s: u32, v: u32) -> vec4f {
  let at = s * (args.KW / 2u);
  let d = ${name}_kept[at + v / 4u];
  let fold = v / FOLD;
  return vec4f(unpack2x16float(d.x), unpack2x16float(d.y)) + bitcast<f32>(${name}_kept[at + args.fours + fold / 2u][fold % 2u]);
}`;
