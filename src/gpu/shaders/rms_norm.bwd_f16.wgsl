// rms_norm.bwd straight into an operand of matmul.matrix; dx is stored in f32 too where it is added to, else not at all.   x, dy [M, D], gain [D], partial [B, D] in fours.
// One subgroup per ROWS rows, the padding's among them; with MEASURE the magnitudes alone are watched.
// #use lib/rows
// #use lib/gain_sums_none.bwd
// #use lib/rms_norm.bwd
// #use lib/packed_lines
fn row_count() -> u32 { return (packed_rows() + ROWS - 1u) / ROWS; }
fn four(row: u32, d: u32, mean: f32, unused: f32) -> vec4f { return put(row * (args.D / 4u) + d, rstd[row], slope(row, d, mean)); }
var<private> most: u32;
fn seen(peak: u32) { most = max(most, peak); }
fn row_main(block: u32, lane: u32, lanes: u32) {
  let slot = block % SUBGROUPS;
  for (var r = 0u; r < ROWS; r++) {
    let row = block * ROWS + r;
    if (row < args.M) { pack_line(row, row_mean(row, r == 0u, slot, lane, lanes), 0.0, lane, lanes); }
    else if (MEASURE == 0u && row < packed_rows()) { pack_zeros(row, lane, lanes); }
  }
  if (MEASURE == 0u && block * ROWS < args.M) { keep_gain_sums(block, slot, lane, lanes); }
  watch(most);
}
