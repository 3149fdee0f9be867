// rms_norm.fwd straight into an operand of matmul.matrix.   x [M, D], gain [D] in fours, rstd [M].   One subgroup per row, the padding's among them.
// #use lib/rows
// #use lib/rms_norm
// #use lib/packed_lines
fn row_count() -> u32 { return packed_rows(); }
fn four(row: u32, d: u32, scale: f32, unused: f32) -> vec4f { return normed(row, d, scale); }
fn row_main(row: u32, lane: u32, lanes: u32) {
  if (row >= args.M) {
    pack_zeros(row, lane, lanes);
    return;
  }
  let scale = row_rstd(row, lane, lanes);
  pack_line(row, scale, 0.0, lane, lanes);
  if (lane == 0u) { rstd[row] = scale; }
}
