// Folds a tile of logits into square [S,2]: m, Z2 = sum e^(2(f-m)); log sum pi^2 = 2 m + log Z2 - 2 LSE f.   tile [S,Y].
// One subgroup per row.
// #use lib/rows
fn row_count() -> u32 { return args.S; }
fn row_main(row: u32, lane: u32, lanes: u32) {
  let at = row * args.Y;
  var m = -3.4e38;
  for (var v = lane; v < args.count; v += lanes) { m = max(m, tile[at + v]); }
  m = lane_max(m);
  if (args.v0 > 0u) { m = max(m, square[row * 2u]); }
  var z = 0.0;
  for (var v = lane; v < args.count; v += lanes) { z += exp(2.0 * (tile[at + v] - m)); }
  z = lane_sum(z);
  if (lane != 0u) { return; }
  if (args.v0 > 0u) { z = fma(exp(2.0 * (square[row * 2u] - m)), square[row * 2u + 1u], z); }
  square[row * 2u] = m;
  square[row * 2u + 1u] = z;
}
