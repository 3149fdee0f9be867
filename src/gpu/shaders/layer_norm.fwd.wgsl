// y = (z - mean) * rstd * gain + bias, z = x + before, rstd = 1/sqrt(mean((z - mean)^2) + eps) (lib/layer_norm).   x, y [N, D], gain, bias [D], as Vec.
// One subgroup per row, lanes stride over D.
// #use lib/rows
// #use lib/layer_norm
fn row_count() -> u32 { return args.N; }
fn row_main(row: u32, lane: u32, lanes: u32) {
  let stats = row_stats(row, lane, lanes);
  let width = args.D / WIDTH;
  for (var d = lane; d < width; d += lanes * SIDE) {
    // #for i SIDE
    var v$i = Vec();
    if (d + $iu * lanes < width) { v$i = normed(row, d + $iu * lanes, stats.x, stats.y); }
    // #end
    // #for i SIDE
    if (d + $iu * lanes < width) { y[row * width + d + $iu * lanes] = v$i; }
    // #end
  }
  if (lane == 0u) { keep(row, mean_of(stats.x), stats.y); }
}
