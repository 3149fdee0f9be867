// Folds a tile of logits into square [S,2], FOLD columns at a time: m, Z2 = sum e^(2(f-m)); log sum pi^2 = 2 m + log Z2 - 2 LSE f.   tile [S,Y].
// One subgroup per row.
// #use lib/rows
fn row_count() -> u32 { return args.S; }
fn row_main(row: u32, lane: u32, lanes: u32) {
  let at = row * args.Y;
  var old = 0.0;
  var total = 0.0;
  if (args.v0 > 0u) {
    old = square[row * 2u];
    total = square[row * 2u + 1u];
  }
  for (var b = 0u; b < args.count; b += FOLD) {
    let end = min(b + FOLD, args.count);
    var m = -3.4e38;
    for (var v = b + lane; v < end; v += lanes) { m = max(m, tile[at + v]); }
    m = lane_max(m);
    if (args.v0 + b > 0u) { m = max(m, old); }
    var z = 0.0;
    for (var v = b + lane; v < end; v += lanes) { z += exp(2.0 * (tile[at + v] - m)); }
    z = lane_sum(z);
    if (args.v0 + b > 0u) { z = fma(exp(2.0 * (old - m)), total, z); }
    old = m;
    total = z;
  }
  if (lane != 0u) { return; }
  square[row * 2u] = old;
  square[row * 2u + 1u] = total;
}
