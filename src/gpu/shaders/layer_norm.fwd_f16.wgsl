// layer_norm.fwd straight into an operand of matmul.matrix.   x [M, D], gain, bias [D] in fours, mean, rstd [M].   One subgroup per row, the padding's among them.
// #use lib/rows
// #use lib/layer_norm
// #use lib/packed_lines
fn row_count() -> u32 { return packed_rows(); }
fn four(row: u32, d: u32, sum: f32, scale: f32) -> vec4f { return normed(row, d, sum, scale); }
fn row_main(row: u32, lane: u32, lanes: u32) {
  if (row >= args.M) {
    pack_zeros(row, lane, lanes);
    return;
  }
  let stats = row_stats(row, lane, lanes);
  pack_line(row, stats.x, stats.y, lane, lanes);
  if (lane == 0u) { keep(row, mean_of(stats.x), stats.y); }
}
