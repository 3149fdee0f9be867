/**
 * The letters, used unchanged in TypeScript, WGSL, comments and errors:
 * N rows of a micro-batch, S scored rows, Q sequences (branches), P documents, U distinct token ids,
 * D model width, H query heads, G key/value heads, C width of one head, F feed-forward width, V vocabulary, L layers,
 * T positions of a table, B blocks of a two-stage reduction.
 */
export interface Dims {
  D: number;
  H: number;
  G: number;
  C: number;
  F: number;
  V: number;
  L: number;
}
