// partials[slot + k] = sum of term(i) over the k-th block of BLOCK elements.   One subgroup per block.
// #use lib/rows
fn row_count() -> u32 { return (args.E + BLOCK - 1u) / BLOCK; }
fn row_main(row: u32, lane: u32, lanes: u32) {
  let end = min((row + 1u) * BLOCK, args.E);
  var sum = 0.0;
  for (var i = row * BLOCK + lane; i < end; i += lanes) { sum += term(i); }
  sum = lane_sum(sum);
  if (lane == 0u) { partials[args.slot + row] = sum; }
}
