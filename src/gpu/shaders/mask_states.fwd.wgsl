// y[s,:] = (x[src[s],:] - mean) / sqrt(variance + 1e-5): a LayerNorm before its gain.   x [N,D], src [S], y [S,D].   One subgroup per scored row.
// #use lib/rows
fn row_count() -> u32 { return args.S; }
fn row_main(row: u32, lane: u32, lanes: u32) {
  let at = src[row] * args.D;
  var sum = 0.0;
  for (var d = lane; d < args.D; d += lanes) { sum += x[at + d]; }
  let mean = lane_sum(sum) / f32(args.D);
  var squares = 0.0;
  for (var d = lane; d < args.D; d += lanes) { squares += (x[at + d] - mean) * (x[at + d] - mean); }
  let scale = 1.0 / sqrt(lane_sum(squares) / f32(args.D) + 1e-5);
  for (var d = lane; d < args.D; d += lanes) { y[row * args.D + d] = (x[at + d] - mean) * scale; }
}
