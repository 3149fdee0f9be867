// Folds a tile of logits into the running softmax of each scored row, FOLD columns at a time: the bits do not depend on how wide the tile is.
// tile [S,Y] (count columns are vocabulary v0 ..), labels [S], state [S,4]: m, Z = sum e^(f-m), E = sum e^(f-m)(f-m), f of the label.
// One subgroup per row.   The same pipeline serves reference and policy: equal states give equal log-probs. Where tiles are kept, only stores are added.
// #use lib/rows
// #use lib/tile_fours
// #use lib/keep_none
fn row_count() -> u32 { return args.S; }
fn row_main(row: u32, lane: u32, lanes: u32) {
  let at = row * args.Y / 4u;
  let hop = 4u * lanes;
  var m = LOW;
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
    var peak = vec4f(LOW);
    for (var v = b + 4u * lane; v < end; v += AHEAD * hop) {
      // #for i AHEAD
      let x$i = tile[at + four_at(v + $iu * hop, end)];
      // #end
      // #for i AHEAD
      peak = max(peak, low_outside(x$i, v + $iu * hop, end));
      // #end
    }
    let next = max(m, lane_max(max4(peak)));
    var z4 = vec4f();
    var e4 = vec4f();
    for (var v = b + 4u * lane; v < end; v += AHEAD * hop) {
      // #for i AHEAD
      let x$i = tile[at + four_at(v + $iu * hop, end)];
      // #end
      // #for i AHEAD
      let v$i = v + $iu * hop;
      let d$i = below(x$i - next, v$i, end);
      let p$i = exp(d$i);
      z4 += p$i;
      e4 = fma(p$i, d$i, e4);
      if (v$i < end) { keep(row, v$i, d$i); }
      // #end
    }
    var z = lane_sum(sum4(z4));
    var e = lane_sum(sum4(e4));
    if (args.v0 + b > 0u) {
      let kept_share = exp(m - next);
      e = fma(kept_share, fma(m - next, total, weighted), e);
      z = fma(kept_share, total, z);
    }
    m = next;
    total = z;
    weighted = e;
    if (lane == 0u) { keep_top(row, b, next); }
  }
  if (lane != 0u) { return; }
  let label = labels[row];
  if (label >= args.v0 && label < args.v0 + args.count) {
    let c = label - args.v0;
    own = tile[at + c / 4u][c % 4u];
  }
  state[row * 4u] = m;
  state[row * 4u + 1u] = total;
  state[row * 4u + 2u] = weighted;
  state[row * 4u + 3u] = own;
}
