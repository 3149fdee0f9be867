// Of a row: rstd^2 * mean(g*dy*x), g = offset + gain, and what the row adds to the residual's gradient, but for its rstd. Where sums of ROWS rows are kept (lib/gain_sums.bwd), its
// dy * x * rstd join them. Products meet sums in fma alone, which no driver makes otherwise in one kernel than in another.
fn row_mean(row: u32, first: bool, slot: u32, lane: u32, lanes: u32) -> f32 {
  let width = args.D / WIDTH;
  let at = row * width;
  let scale = rstd[row];
  var inner = Vec();
  for (var d = lane; d < width; d += lanes * SIDE) {
    // #for i SIDE
    var p$i = Vec();
    if (d + $iu * lanes < width) { p$i = dy[at + d + $iu * lanes] * x[at + d + $iu * lanes]; }
    // #end
    // #for i SIDE
    if (d + $iu * lanes < width) {
      inner = fma(args.offset + gain[d + $iu * lanes], p$i, inner);
      gain_sum(slot * width + d + $iu * lanes, p$i, scale, first);
    }
    // #end
  }
  return lane_sum(total(inner)) / f32(args.D) * scale * scale;
}
fn slope(row: u32, d: u32, mean: f32) -> Vec {
  let at = row * (args.D / WIDTH) + d;
  return fma(args.offset + gain[d], dy[at], -(x[at] * mean));
}
