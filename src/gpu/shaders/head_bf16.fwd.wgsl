// The official code's criterion in bf16 (losses.md 1.2, 1.5): logits, each product and each sum of the mixtures rounded to bf16; three running
// softmaxes, FOLD columns at a time.   tile, ref_tile [S,Y], labels [S], mixed [S,9]: (m, Z, label's value) of f, of (1+eps) f - eps r, of (1-eps) f + eps r.
// One subgroup per row.
// #use lib/bf16
// #use lib/rows
fn mix(f: f32, r: f32, k: u32) -> f32 {
  let a = round_to_bf16(f);
  if (k == 0u) { return a; }
  let b = round_to_bf16(args.epsilon * round_to_bf16(r));
  if (k == 1u) { return round_to_bf16(round_to_bf16((1.0 + args.epsilon) * a) - b); }
  return round_to_bf16(round_to_bf16((1.0 - args.epsilon) * a) + b);
}
fn row_count() -> u32 { return args.S; }
fn row_main(row: u32, lane: u32, lanes: u32) {
  let at = row * args.Y;
  for (var k = 0u; k < 3u; k++) {
    let c = row * 9u + k * 3u;
    var m = 0.0;
    var total = 0.0;
    if (args.v0 > 0u) {
      m = mixed[c];
      total = mixed[c + 1u];
    }
    for (var b = 0u; b < args.count; b += FOLD) {
      let end = min(b + FOLD, args.count);
      var next = -3.4e38;
      for (var v = b + lane; v < end; v += lanes) { next = max(next, mix(tile[at + v], ref_tile[at + v], k)); }
      next = lane_max(next);
      var keep = 0.0;
      if (args.v0 + b > 0u) {
        next = max(next, m);
        keep = exp(m - next);
      }
      var z = 0.0;
      for (var v = b + lane; v < end; v += lanes) { z += exp(mix(tile[at + v], ref_tile[at + v], k) - next); }
      z = lane_sum(z);
      if (args.v0 + b > 0u) { z = fma(keep, total, z); }
      m = next;
      total = z;
    }
    if (lane == 0u) {
      let label = labels[row];
      mixed[c] = m;
      mixed[c + 1u] = total;
      if (label >= args.v0 && label < args.v0 + args.count) {
        mixed[c + 2u] = mix(tile[at + label - args.v0], ref_tile[at + label - args.v0], k);
      }
    }
  }
}
