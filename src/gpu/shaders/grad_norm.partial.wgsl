// partials[slot_i + k] = sum of grad_i^2 over the k-th block of BLOCK elements, of COUNT gradients.   grad_i [E_i] flat in fours.
// One subgroup per block: those of the first gradient, then those of the next.
// #use lib/rows
// #use lib/grad_norm
fn blocks(elements: u32) -> u32 { return (elements + BLOCK - 1u) / BLOCK; }
fn row_count() -> u32 {
  var sum = 0u;
  // #for i COUNT
  sum += blocks(args.E_$i);
  // #end
  return sum;
}
fn row_main(row: u32, lane: u32, lanes: u32) {
  var k = row;
  // #for i COUNT
  if (k < blocks(args.E_$i)) {
    let total = squares_$i(k * (BLOCK / 4u), min(BLOCK, args.E_$i - k * BLOCK), lane, lanes);
    if (lane == 0u) { partials[args.slot_$i + k] = total; }
    return;
  }
  k -= blocks(args.E_$i);
  // #end
}
