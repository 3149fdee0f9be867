// Folds a tile of logits into the running softmax of each scored row, FOLD columns at a time: the bits do not depend on how wide the tile is.
// tile [S,Y] (count columns are vocabulary v0 ..), labels [S], state [S,4]: m, Z = sum e^(f-m), E = sum e^(f-m)(f-m), f of the label.
// One subgroup per row.   The same pipeline serves reference and policy: equal states give equal log-probs.
// #use lib/rows
fn row_count() -> u32 { return args.S; }
fn row_main(row: u32, lane: u32, lanes: u32) {
  let at = row * args.Y;
  var m = -3.4e38;
  var total = 0.0;
  var weighted = 0.0;
  var own = 0.0;
  if (args.v0 > 0u) {
    m = state[row * 4u];
    total = state[row * 4u + 1u];
    weighted = state[row * 4u + 2u];
    own = state[row * 4u + 3u];
  }
  for (var b = 0u; b < args.count; b += FOLD) {
    let end = min(b + FOLD, args.count);
    var peak = -3.4e38;
    for (var v = b + lane; v < end; v += lanes) { peak = max(peak, tile[at + v]); }
    peak = lane_max(peak);
    let next = max(m, peak);
    var z = 0.0;
    var e = 0.0;
    for (var v = b + lane; v < end; v += lanes) {
      let d = tile[at + v] - next;
      let p = exp(d);
      z += p;
      e = fma(p, d, e);
    }
    z = lane_sum(z);
    e = lane_sum(e);
    if (args.v0 + b > 0u) {
      let keep = exp(m - next);
      e = fma(keep, fma(m - next, total, weighted), e);
      z = fma(keep, total, z);
    }
    m = next;
    total = z;
    weighted = e;
  }
  if (lane != 0u) { return; }
  let label = labels[row];
  if (label >= args.v0 && label < args.v0 + args.count) { own = tile[at + label - args.v0]; }
  state[row * 4u] = m;
  state[row * 4u + 1u] = total;
  state[row * 4u + 2u] = weighted;
  state[row * 4u + 3u] = own;
}
