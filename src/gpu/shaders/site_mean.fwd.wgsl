// y[s] = 1/D sum_d (x[src[s],d] - base[src[s],d]).   x [N,D], src [S], y [S]; `before` (base or 0) by the recorder.   One subgroup per scored row.
// #use lib/rows
fn row_count() -> u32 { return args.S; }
fn row_main(row: u32, lane: u32, lanes: u32) {
  let at = src[row] * args.D;
  var sum = 0.0;
  for (var d = lane; d < args.D; d += lanes) { sum += x[at + d] - before(at + d); }
  sum = lane_sum(sum);
  if (lane == 0u) { y[row] = sum / f32(args.D); }
}
