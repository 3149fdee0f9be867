// partials[slot + k] = sum of grad^2 over the k-th block of BLOCK elements.   grad [E] flat, read four at a time.
// One subgroup per block; four loads of a lane are under way at once.
// #use lib/rows
fn row_count() -> u32 { return (args.E + BLOCK - 1u) / BLOCK; }
fn row_main(row: u32, lane: u32, lanes: u32) {
  let whole = args.E / 4u;
  let end = min((row + 1u) * (BLOCK / 4u), whole);
  var sum = vec4f();
  var j = row * (BLOCK / 4u) + lane;
  for (; j + 3u * lanes < end; j += 4u * lanes) {
    let a = grad[j];
    let b = grad[j + lanes];
    let c = grad[j + 2u * lanes];
    let d = grad[j + 3u * lanes];
    sum = fma(d, d, fma(c, c, fma(b, b, fma(a, a, sum))));
  }
  for (; j < end; j += lanes) { sum = fma(grad[j], grad[j], sum); }
  // Up to three elements after the last whole four, beside which anything may stand.
  if (lane == 0u && args.E % 4u != 0u && row + 1u == row_count()) {
    let rest = select(vec4f(), grad[whole], vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(args.E % 4u));
    sum = fma(rest, rest, sum);
  }
  let total = lane_sum((sum.x + sum.y) + (sum.z + sum.w));
  if (lane == 0u) { partials[args.slot + row] = total; }
}
