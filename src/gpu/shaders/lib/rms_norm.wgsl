// 1/sqrt(mean(x^2) + eps) of a row of x [.., D] and its normed elements, as Vec (four elements or one): the same bits wherever they go. SIDE loads of a lane stand side by side.
fn row_rstd(row: u32, lane: u32, lanes: u32) -> f32 {
  let width = args.D / WIDTH;
  var squares = Vec();
  for (var d = lane; d < width; d += lanes * SIDE) {
    // #for i SIDE
    var v$i = Vec();
    if (d + $iu * lanes < width) { v$i = x[row * width + d + $iu * lanes]; }
    // #end
    // #for i SIDE
    squares = fma(v$i, v$i, squares);
    // #end
  }
  return rstd_of(total(squares));
}
// Of a lane's share of the sum of squares; fma, since a driver may make a product of a division and fuse it here and not there.
fn rstd_of(squares: f32) -> f32 { return 1.0 / sqrt(fma(lane_sum(squares), 1.0 / f32(args.D), args.eps)); }
fn normed(row: u32, d: u32, rstd: f32) -> Vec { return x[row * (args.D / WIDTH) + d] * rstd * (args.offset + gain[d]); }
// What becomes of x joined to a residual: one rounding, whichever kernel it stands in.
fn joined(row: u32, d: u32, rstd: f32, residual: Vec) -> Vec { return fma(x[row * (args.D / WIDTH) + d] * rstd, args.offset + gain[d], residual); }
