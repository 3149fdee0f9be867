// y = added + x * rstd * (offset + gain), rstd = 1/sqrt(mean(x^2) + eps).   x, y [N, D], gain [D], rstd [N].
// One subgroup per row, lanes stride over D.
// #use lib/rows
fn row_count() -> u32 { return args.N; }
fn row_main(row: u32, lane: u32, lanes: u32) {
  let at = row * args.D;
  var squares = 0.0;
  for (var d = lane; d < args.D; d += lanes) { squares += x[at + d] * x[at + d]; }
  let scale = 1.0 / sqrt(lane_sum(squares) / f32(args.D) + args.eps);
  for (var d = lane; d < args.D; d += lanes) { y[at + d] = added(at + d) + x[at + d] * scale * (args.offset + gain[d]); }
  if (lane == 0u) { rstd[row] = scale; }
}
