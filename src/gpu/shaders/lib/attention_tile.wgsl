// Rows of a tile (ops/attention_tiles.ts) and which of them see each other. A block of BN streamed rows meets BM rows of the tile; `distance` is the position of the
// first query less that of the first key.
struct Rows { first: u32, count: u32, prompt_start: u32, prompt_end: u32, branch_start: u32, end_tile: u32, position: u32 }
// Rows `skip` to `skip + most` of a tile; none where it is shorter.
fn tile_rows(tile: u32, skip: u32, most: u32) -> Rows {
  let a = tiles[2u * tile];
  let b = tiles[2u * tile + 1u];
  let first = a.x + skip;
  return Rows(first, min(a.y - min(a.y, skip), most), a.z, a.w, b.x, b.y, a.w - a.z + first - b.x);
}

// Blocks of keys that a tile of queries meets: from promptStart, then from branchStart, so that a row's sums are made of the same blocks whatever else is there.
struct Block { first: u32, count: u32, distance: i32 }
fn prompt_blocks(q: Rows) -> u32 { return (q.prompt_end - q.prompt_start + BN - 1u) / BN; }
fn last_block(q: Rows) -> u32 { return prompt_blocks(q) + (q.first + q.count - q.branch_start + BN - 1u) / BN; }
// The first one that is not behind every query's window.
fn first_block(q: Rows) -> u32 {
  if (args.window == 0u || q.position < args.window) { return 0u; }
  let lowest = q.position + 1u - args.window;
  let prompt = q.prompt_end - q.prompt_start;
  if (lowest < prompt) { return lowest / BN; }
  return prompt_blocks(q) + (lowest - prompt) / BN;
}
fn block(q: Rows, at: u32) -> Block {
  let n = prompt_blocks(q);
  if (at < n) {
    let first = q.prompt_start + at * BN;
    return Block(first, min(BN, q.prompt_end - first), i32(q.position - at * BN));
  }
  let skip = (at - n) * BN;
  let first = q.branch_start + skip;
  return Block(first, min(BN, q.first + q.count - first), i32(q.position) - i32(q.prompt_end - q.prompt_start + skip));
}
// Distances that a query sees: from 0 to less than the window's.
fn in_window(d: vec4<i32>) -> vec4<bool> {
  let limit = select(i32(args.window), 0x7fffffff, args.window == 0u);
  return (d >= vec4<i32>()) & (d < vec4<i32>(limit));
}
// Does query `row` of the tile see these keys of the block?
fn sees(b: Block, row: u32, keys: vec4<u32>) -> vec4<bool> {
  return in_window(vec4<i32>(b.distance + i32(row)) - vec4<i32>(keys)) & (keys < vec4<u32>(b.count));
}
// Does each of the BM queries see each of the BN keys?
fn sees_all(b: Block) -> bool {
  return b.count == BN && all(in_window(vec4<i32>(b.distance - i32(BN) + 1, b.distance + i32(BM) - 1, 0, 0)));
}
