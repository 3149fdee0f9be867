// partials[slot] = sum of grad_0^2 over `count` elements from the `first` four on, for every row (first, count, slot) of `table`: blocks of gradients that lie
// one behind the other, none over the end of a gradient.   grad_0 [E] flat in fours, table [B, 3].   One subgroup per block.
// #use lib/rows
// #use lib/grad_norm
fn row_count() -> u32 { return args.B; }
fn row_main(row: u32, lane: u32, lanes: u32) {
  let total = squares_0(table[row * 3u], table[row * 3u + 1u], lane, lanes);
  if (lane == 0u) { partials[table[row * 3u + 2u]] = total; }
}
