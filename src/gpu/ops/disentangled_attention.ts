import { defineKernel } from '../kernel.js';
import type { ArgValue, Program } from '../program.js';
import type { Tensor } from '../tensor.js';

/*
 * Disentangled self-attention (He et al. 2021, arXiv 2006.03654, equation 4) with one projection for contents and positions, over packed sequences in
 * both directions: content to content, content to position and position to content. The last two are products with the few relative positions there
 * are, made once a layer [N, H*R]; scores of rows with rows are never stored.
 */

/** Query rows of a tile, one thread each. */
const TILE = 32;

function kernels(vector: boolean) {
  const v = vector ? ':vec4f' : '';
  const suffix = vector ? '_vec4' : '';
  const rows = `N H*C${v}`;
  const prelude = vector
    ? 'alias Vec = vec4f;\nconst E = C / 4u;\nfn inner(a: Vec, b: Vec) -> f32 { return dot(a, b); }'
    : 'alias Vec = f32;\nconst E = C;\nfn inner(a: Vec, b: Vec) -> f32 { return a * b; }';
  return {
    positions: defineKernel({
      name: `position_scores.fwd${suffix}`, shader: 'position_scores.fwd', prelude,
      read: { x: rows, pos: `R H*C${v}` },
      write: { y: 'N H*R' },
      args: { N: 'u32', R: 'u32', first: 'u32', count: 'u32' },
      tune: { WG: TILE, H: 1, C: 4 },
      grid: ({ N, H, count, WG }) => Math.ceil(N! / (2 * WG!)) * H! * Math.ceil(count! / 16),
    }),
    attention: defineKernel({
      name: `disentangled_attention.fwd${suffix}`, shader: 'disentangled_attention.fwd', prelude,
      read: { q: rows, k: rows, v: rows, c2p: 'N H*R', p2c: 'N H*R', relative: 'W :u32', tiles: 'T 4 :vec4<u32>' },
      write: { o: rows },
      args: { T: 'u32', R: 'u32', scale: 'f32', origin: 'u32' },
      tune: { WG: TILE, H: 1, C: 4 },
      grid: ({ T, H }) => T! * H!,
    }),
  };
}
const [plain, vec4] = [kernels(false), kernels(true)];

/** Tiles [T, 4] of sequences that lie one after the other: begin and end of some query rows, and of their sequence's. */
export function queryTiles(lengths: number[]): Uint32Array {
  const tiles: number[] = [];
  let begin = 0;
  for (const n of lengths) {
    for (let row = begin; row < begin + n; row += TILE) tiles.push(row, Math.min(row + TILE, begin + n), begin, begin + n);
    begin += n;
  }
  return Uint32Array.from(tiles);
}

/**
 * q, k, v [N, H*C]; pos_key, pos_query [R, H*C], the same projections of the relative embeddings; relative [2T − 1], the row of those for i − j from
 * −(T − 1), where T is the longest sequence; tiles as `queryTiles` makes them; c2p and p2c [N, H*R] are scratch → o [N, H*C].
 * @param o.first, o.count rows of the relative embeddings that these lengths reach
 */
export function disentangledAttention(
  p: Program,
  t: { q: Tensor; k: Tensor; v: Tensor; pos_key: Tensor; pos_query: Tensor; c2p: Tensor; p2c: Tensor; relative: Tensor; tiles: Tensor; o: Tensor },
  { H, C, scale, first, count }: { H: number; C: number; scale: number; first: ArgValue; count: ArgValue },
): void {
  const { q, k, v, pos_key, pos_query, c2p, p2c, relative, tiles, o } = t;
  const kernel = C % 4 === 0 ? vec4 : plain;
  const R = pos_key.shape[0]!;
  const tune = { tune: { H, C } };
  p.run(kernel.positions, { x: q, pos: pos_key, y: c2p }, { H, C, first, count }, tune);
  p.run(kernel.positions, { x: k, pos: pos_query, y: p2c }, { H, C, first, count }, tune);
  p.run(kernel.attention, { q, k, v, c2p, p2c, relative, tiles, o }, { H, C, R, scale, origin: (relative.elements - 1) / 2 }, tune);
}
