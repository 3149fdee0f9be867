// Blocks of 256 elements of one tensor [E]: elements from `first` on, their codes from word `word` on, their maxima at `at`.
struct Block { first: u32, count: u32, word: u32, at: u32 }
fn row_count() -> u32 { return (args.E + 255u) / 256u; }
fn block_of(row: u32) -> Block { return Block(row * 256u, min(256u, args.E - row * 256u), row * 64u, row); }
