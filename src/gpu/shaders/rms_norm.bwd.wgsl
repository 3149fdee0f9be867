// dx += (or =, as put has it) rstd * (g*dy - x * rstd^2 * mean(g*dy*x)), g = offset + gain; with lib/gain_sums.bwd also partial[b, d] = sum of dy * x * rstd over rows b*ROWS ...
// All [N, D], partial [B, D], as Vec (four elements or one).   One subgroup per ROWS rows, lanes stride over D.
// #use lib/rows
// #use lib/gain_sums_none.bwd
// #use lib/rms_norm.bwd
fn row_count() -> u32 { return (args.N + ROWS - 1u) / ROWS; }
fn row_main(block: u32, lane: u32, lanes: u32) {
  let slot = block % SUBGROUPS;
  let width = args.D / WIDTH;
  for (var r = 0u; r < ROWS; r++) {
    let row = block * ROWS + r;
    if (row < args.N) {
      let mean = row_mean(row, r == 0u, slot, lane, lanes);
      for (var d = lane; d < width; d += lanes * SIDE) {
        // #for i SIDE
        var v$i = Vec();
        if (d + $iu * lanes < width) { v$i = put(row * width + d + $iu * lanes, rstd[row], slope(row, d + $iu * lanes, mean)); }
        // #end
        // #for i SIDE
        if (d + $iu * lanes < width) { dx[row * width + d + $iu * lanes] = v$i; }
        // #end
      }
    }
  }
  keep_gain_sums(block, slot, lane, lanes);
}
