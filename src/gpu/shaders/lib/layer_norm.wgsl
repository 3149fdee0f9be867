// Mean and 1/sqrt(variance + eps) of a row of z = x + before [.., D], and its normed elements, as Vec (four elements or one): the same bits wherever they go.
// The deviations are summed about the mean, so nothing cancels.
fn row_stats(row: u32, lane: u32, lanes: u32) -> vec2f {
  let width = args.D / WIDTH;
  var sum = Vec();
  for (var d = lane; d < width; d += lanes * SIDE) {
    // #for i SIDE
    var v$i = Vec();
    if (d + $iu * lanes < width) { v$i = x[row * width + d + $iu * lanes] + before(d + $iu * lanes); }
    // #end
    // #for i SIDE
    sum += v$i;
    // #end
  }
  let m = lane_sum(total(sum)) / f32(args.D);
  var squares = Vec();
  for (var d = lane; d < width; d += lanes * SIDE) {
    // #for i SIDE
    var v$i = Vec();
    if (d + $iu * lanes < width) { v$i = x[row * width + d + $iu * lanes] + before(d + $iu * lanes) - m; }
    // #end
    // #for i SIDE
    squares = fma(v$i, v$i, squares);
    // #end
  }
  return vec2f(m, 1.0 / sqrt(fma(lane_sum(total(squares)), 1.0 / f32(args.D), args.eps)));
}
fn normed(row: u32, d: u32, m: f32, rstd: f32) -> Vec { return fma((x[row * (args.D / WIDTH) + d] + before(d) - m) * rstd, gain[d], bias[d]); }
