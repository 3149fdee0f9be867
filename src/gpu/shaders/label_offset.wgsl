// offset[s] = scale (h[s].w[y] - r[s].wr[y]): the label's f - r (a realigned policy's at scale lambda), for rows whose label lies in this piece; exactly 0 when the bits agree.
// hidden, ref_hidden [S,D], w, ref_w [R,D], labels [S], offset [S].   One subgroup per row.
// #use lib/rows
// #use lib/soft_cap
fn row_count() -> u32 { return args.S; }
fn row_main(row: u32, lane: u32, lanes: u32) {
  let label = labels[row];
  if (label < args.first || label >= args.first + args.R) { return; }
  let h = row * args.D;
  let at = (label - args.first) * args.D;
  var f = 0.0;
  var r = 0.0;
  for (var d = lane; d < args.D; d += lanes) {
    f = fma(hidden[h + d], weight(at + d), f);
    r = fma(ref_hidden[h + d], ref_weight(at + d), r);
  }
  f = lane_sum(f);
  r = lane_sum(r);
  if (lane == 0u) { offset[row] = args.scale * (soft_capped(f, args.soft_cap) - soft_capped(r, args.soft_cap)); }
}
