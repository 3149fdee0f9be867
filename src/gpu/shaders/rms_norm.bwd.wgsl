// dx += rstd * (g*dy - x * rstd^2 * mean(g*dy*x)), g = offset + gain.   All [N, D], as Vec (four elements or one); adds to dx.
// One subgroup per row, lanes stride over D.
// #use lib/rows
fn row_count() -> u32 { return args.N; }
fn row_main(row: u32, lane: u32, lanes: u32) {
  let width = args.D / WIDTH;
  let at = row * width;
  let scale = rstd[row];
  var inner = Vec();
  for (var d = lane; d < width; d += lanes) { inner += (args.offset + gain[d]) * dy[at + d] * x[at + d]; }
  let mean = lane_sum(total(inner)) / f32(args.D) * scale * scale;
  for (var d = lane; d < width; d += lanes) {
    dx[at + d] += scale * ((args.offset + gain[d]) * dy[at + d] - x[at + d] * mean);
  }
}
