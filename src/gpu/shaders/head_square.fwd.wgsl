// Folds a tile of logits into square [S,2], FOLD columns at a time: m, Z2 = sum e^(2(f-m)); log sum pi^2 = 2 m + log Z2 - 2 LSE f.   tile [S,Y].
// One subgroup per row.
// #use lib/rows
// #use lib/tile_fours
fn row_count() -> u32 { return args.S; }
fn row_main(row: u32, lane: u32, lanes: u32) {
  let at = row * args.Y / 4u;
  let hop = 4u * lanes;
  var old = 0.0;
  var total = 0.0;
  if (args.v0 > 0u) {
    old = square[row * 2u];
    total = square[row * 2u + 1u];
  }
  for (var b = 0u; b < args.count; b += FOLD) {
    let end = min(b + FOLD, args.count);
    var peak = vec4f(LOW);
    for (var v = b + 4u * lane; v < end; v += AHEAD * hop) {
      // #for i AHEAD
      let x$i = tile[at + four_at(v + $iu * hop, end)];
      // #end
      // #for i AHEAD
      peak = max(peak, low_outside(x$i, v + $iu * hop, end));
      // #end
    }
    var m = lane_max(max4(peak));
    if (args.v0 + b > 0u) { m = max(m, old); }
    var z4 = vec4f();
    for (var v = b + 4u * lane; v < end; v += AHEAD * hop) {
      // #for i AHEAD
      let x$i = tile[at + four_at(v + $iu * hop, end)];
      // #end
      // #for i AHEAD
      z4 += exp(2.0 * below(x$i - m, v + $iu * hop, end));
      // #end
    }
    var z = lane_sum(sum4(z4));
    if (args.v0 + b > 0u) { z = fma(exp(2.0 * (old - m)), total, z); }
    old = m;
    total = z;
  }
  if (lane != 0u) { return; }
  square[row * 2u] = old;
  square[row * 2u + 1u] = total;
}
