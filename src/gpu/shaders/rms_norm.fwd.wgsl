// y = (added +) x * rstd * (offset + gain), rstd = 1/sqrt(mean(x^2) + eps) (lib/rms_norm).   x, y [N, D], gain [D], as Vec; rstd [N].
// One subgroup per row, lanes stride over D.
// #use lib/rows
// #use lib/rms_norm
fn row_count() -> u32 { return args.N; }
fn row_main(row: u32, lane: u32, lanes: u32) {
  let scale = row_rstd(row, lane, lanes);
  let width = args.D / WIDTH;
  for (var d = lane; d < width; d += lanes * SIDE) {
    // #for i SIDE
    var v$i = Vec();
    if (d + $iu * lanes < width) { v$i = result(row, d + $iu * lanes, scale); }
    // #end
    // #for i SIDE
    if (d + $iu * lanes < width) { y[row * width + d + $iu * lanes] = v$i; }
    // #end
  }
  if (lane == 0u) { rstd[row] = scale; }
}
