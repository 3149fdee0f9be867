// y = (z - mean) * rstd * gain + bias, z = x + before, rstd = 1/sqrt(mean((z - mean)^2) + eps).   x, y [N, D], gain, bias [D].
// One subgroup per row, lanes stride over D; the deviations are summed about the mean, so nothing cancels.
// #use lib/rows
fn row_count() -> u32 { return args.N; }
fn row_main(row: u32, lane: u32, lanes: u32) {
  let at = row * args.D;
  var sum = 0.0;
  for (var d = lane; d < args.D; d += lanes) { sum += x[at + d] + before(d); }
  let m = lane_sum(sum) / f32(args.D);
  var squares = 0.0;
  for (var d = lane; d < args.D; d += lanes) {
    let off = x[at + d] + before(d) - m;
    squares += off * off;
  }
  let scale = 1.0 / sqrt(lane_sum(squares) / f32(args.D) + args.eps);
  for (var d = lane; d < args.D; d += lanes) { y[at + d] = (x[at + d] + before(d) - m) * scale * gain[d] + bias[d]; }
  if (lane == 0u) { keep(row, m, scale); }
}
