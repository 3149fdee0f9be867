// y = add + x * rstd * (offset + gain) and the norm of y that is read next, h = y * rstd_next * (offset + gain_next), in f32 or as an operand of matmul.matrix (lib/norm_next):
// the bits of two kernels one after the other.   x, add, y, h [N, D], gains [D], as Vec; rstds [N].
// One subgroup per row, lanes stride over D; y is made twice rather than read back, as an operand's lanes have other columns.
// #use lib/rows
// #use lib/rms_norm
// #use lib/norm_next
fn summed(row: u32, d: u32, scale: f32) -> Vec { return joined(row, d, scale, add[row * (args.D / WIDTH) + d]); }
fn four(row: u32, d: u32, scale: f32, next: f32) -> Vec { return summed(row, d, scale) * next * (args.offset + gain_next[d]); }
fn row_main(row: u32, lane: u32, lanes: u32) {
  if (row >= rows()) {
    beyond(row, lane, lanes);
    return;
  }
  let scale = row_rstd(row, lane, lanes);
  let width = args.D / WIDTH;
  var squares = Vec();
  for (var d = lane; d < width; d += lanes * SIDE) {
    // #for i SIDE
    var v$i = Vec();
    if (d + $iu * lanes < width) { v$i = summed(row, d + $iu * lanes, scale); }
    // #end
    // #for i SIDE
    squares = fma(v$i, v$i, squares);
    if (d + $iu * lanes < width) { y[row * width + d + $iu * lanes] = v$i; }
    // #end
  }
  let next = rstd_of(total(squares));
  store_next(row, scale, next, lane, lanes);
  if (lane == 0u) {
    rstd[row] = scale;
    rstd_next[row] = next;
  }
}
