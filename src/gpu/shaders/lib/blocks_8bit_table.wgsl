// lib/blocks_8bit of tensors that lie behind one another: a line of `table` for each block.
struct Block { first: u32, count: u32, word: u32, at: u32 }
fn row_count() -> u32 { return args.B; }
fn block_of(row: u32) -> Block {
  let line = table[row];
  return Block(line.x, line.y, line.z, line.w);
}
