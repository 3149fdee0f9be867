// dx += rstd * (g*dy - x * rstd^2 * mean(g*dy*x)), g = offset + gain.   All [N, D]; adds to dx.
// One subgroup per row, lanes stride over D.
// #use lib/rows
fn row_count() -> u32 { return args.N; }
fn row_main(row: u32, lane: u32, lanes: u32) {
  let at = row * args.D;
  let scale = rstd[row];
  var inner = 0.0;
  for (var d = lane; d < args.D; d += lanes) { inner += (args.offset + gain[d]) * dy[at + d] * x[at + d]; }
  let mean = lane_sum(inner) / f32(args.D) * scale * scale;
  for (var d = lane; d < args.D; d += lanes) {
    dx[at + d] += scale * ((args.offset + gain[d]) * dy[at + d] - x[at + d] * mean);
  }
}
