// sums[d] += sum over blocks of ROWS rows of partial[b, d].   partial [B, D], sums [D], as Vec (four elements or one); adds.
// One subgroup per Vec, lanes stride over the blocks, SIDE loads of each side by side.
// #use lib/rows
fn row_count() -> u32 { return args.D / WIDTH; }
fn row_main(d: u32, lane: u32, lanes: u32) {
  let blocks = (args.N + ROWS - 1u) / ROWS;
  let width = args.D / WIDTH;
  var sum = Vec();
  for (var b = lane; b < blocks; b += lanes * SIDE) {
    // #for i SIDE
    var t$i = Vec();
    if (b + $iu * lanes < blocks) { t$i = partial[(b + $iu * lanes) * width + d]; }
    // #end
    // #for i SIDE
    sum += t$i;
    // #end
  }
  let all = lane_total(sum);
  if (lane == 0u) { sums[d] += all; }
}
