// rms_norm.fwd straight into an operand of matmul.matrix.   x [M, D], gain [D] in fours, rstd [M].   One subgroup per row, the padding's among them.
// #use lib/rows
// #use lib/rms_norm
// #use lib/packed_rows
fn row_count() -> u32 { return packed_rows(); }
fn four(row: u32, d: u32, scale: f32) -> vec4f {
  if (d * 4u >= args.D) { return vec4f(); }
  return normed(row, d, scale);
}
fn row_main(row: u32, lane: u32, lanes: u32) {
  if (row >= args.M) {
    for (var c = lane; c < args.W; c += lanes) { packed[packed_at(row, c)] = vec4<u32>(); }
    return;
  }
  let scale = row_rstd(row, lane, lanes);
  for (var c = lane; c < args.W; c += lanes) { packed[packed_at(row, c)] = packed8(four(row, 2u * c, scale), four(row, 2u * c + 1u, scale), scales[args.slot]); }
  if (lane == 0u) { rstd[row] = scale; }
}
