/** Forward; gradients of queries; of keys and values. */
export type AttentionPass = 'fwd' | 'dq' | 'dkv';

/** Rows of a tile; kernels take it whole or in equal parts. */
export const TILE_ROWS = 64;
/** Numbers of a tile in the list. */
export const TILE_WORDS = 8;

/** Most tiles of a micro-batch of so many rows in so many sequences: every prompt and every branch may end in a tile that is not full. */
export const tileCapacity = (rows: number, sequences: number): number => Math.min(rows, Math.floor(rows / TILE_ROWS) + 2 * sequences);

/**
 * The rows of a micro-batch in tiles for attention. A tile begins where a prompt or a branch begins, or TILE_ROWS later, and ends with it, so that what
 * a row's sums are made of depends on its own prompt and branch alone.
 * @param span [N, 4]: promptStart, promptEnd, branchStart, visEnd (`pack`)
 * @returns [T, 8], in the rows' order: first row, rows, promptStart, promptEnd, branchStart, the tile behind the last one whose queries see these rows. As queries a
 * tile's rows see keys of [promptStart, promptEnd) and [branchStart, row]; as keys they are seen by tiles from their own up to that one: all of them, as far as
 * causality and the window let them.
 */
export function attentionTiles(span: Uint32Array): Uint32Array {
  const N = span.length / 4;
  const list: number[][] = [];
  const tileAt = new Uint32Array(N + 1);
  for (let row = 0; row < N;) {
    const [promptStart, promptEnd, branchStart] = span.subarray(4 * row, 4 * row + 3) as unknown as [number, number, number];
    let end = row + 1;
    while (end < N && end < row + TILE_ROWS && span[4 * end + 2] === branchStart) end++;
    tileAt[row] = list.length;
    list.push([row, end - row, promptStart, promptEnd, branchStart, span[4 * row + 3]!]);
    row = end;
  }
  tileAt[N] = list.length;
  const tiles = new Uint32Array(list.length * TILE_WORDS);
  list.forEach((words, i) => tiles.set([...words.slice(0, 5), tileAt[words[5]!]!], i * TILE_WORDS));
  return tiles;
}
