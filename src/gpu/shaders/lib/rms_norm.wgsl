// 1/sqrt(mean(x^2) + eps) of a row of x [.., D] and its normed elements, as Vec (four elements or one): the same bits wherever they go.
fn row_rstd(row: u32, lane: u32, lanes: u32) -> f32 {
  let width = args.D / WIDTH;
  var squares = Vec();
  for (var d = lane; d < width; d += lanes) {
    let v = x[row * width + d];
    squares = fma(v, v, squares);
  }
  return 1.0 / sqrt(lane_sum(total(squares)) / f32(args.D) + args.eps);
}
fn normed(row: u32, d: u32, rstd: f32) -> Vec { return x[row * (args.D / WIDTH) + d] * rstd * (args.offset + gain[d]); }
