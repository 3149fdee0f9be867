// dx += rstd * (g - mean(g) - z * mean(g*z)), g = gain*dy, z = (x - mean) * rstd.   All [N, D]; adds to dx.
// One subgroup per row, lanes stride over D.
// #use lib/rows
fn row_count() -> u32 { return args.N; }
fn row_main(row: u32, lane: u32, lanes: u32) {
  let at = row * args.D;
  let scale = rstd[row];
  let m = mean[row];
  var plain = 0.0;
  var inner = 0.0;
  for (var d = lane; d < args.D; d += lanes) {
    let g = gain[d] * dy[at + d];
    plain += g;
    inner += g * (x[at + d] - m) * scale;
  }
  let mean_g = lane_sum(plain) / f32(args.D);
  let mean_gz = lane_sum(inner) / f32(args.D);
  for (var d = lane; d < args.D; d += lanes) {
    dx[at + d] += scale * (gain[d] * dy[at + d] - mean_g - (x[at + d] - m) * scale * mean_gz);
  }
}
