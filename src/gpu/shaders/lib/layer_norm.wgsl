// Sum and 1/sqrt(variance + eps) of a row of z = x + before [.., D], its mean and its normed elements, as Vec (four elements or one): the same bits wherever they go.
// The deviations are summed about the mean, so nothing cancels. They are fma of the sum: a driver may make a product of a division and fuse it here and not there.
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
  let all = lane_sum(total(sum));
  var squares = Vec();
  for (var d = lane; d < width; d += lanes * SIDE) {
    // #for i SIDE
    var v$i = Vec();
    if (d + $iu * lanes < width) { v$i = deviation(row, d + $iu * lanes, all); }
    // #end
    // #for i SIDE
    squares = fma(v$i, v$i, squares);
    // #end
  }
  return vec2f(all, 1.0 / sqrt(fma(lane_sum(total(squares)), 1.0 / f32(args.D), args.eps)));
}
fn mean_of(sum: f32) -> f32 { return sum * (1.0 / f32(args.D)); }
fn deviation(row: u32, d: u32, sum: f32) -> Vec { return fma(Vec(-sum), Vec(1.0 / f32(args.D)), x[row * (args.D / WIDTH) + d] + before(d)); }
fn normed(row: u32, d: u32, sum: f32, rstd: f32) -> Vec { return fma(deviation(row, d, sum) * rstd, gain[d], bias[d]); }
