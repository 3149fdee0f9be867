// Folds tiles of policy and reference logits f, r into what the epsilon-criterion and both KLs need (losses.md 1.4).
// tile, ref_tile [S,Y], offset [S] = o, criterion [S,8]: m_f, Z_f, m_r, Z_r, T+, T- = sum e^(f-m_f) expm1(+-eps (f-r-o)),
// K1 = sum e^(f-m_f)(f-r-o), K2 = sum e^(r-m_r)(r-f+o).   One subgroup per row.
// Both softmaxes go through one function, so that f = r bit for bit gives equal sums and T = 0.
// #use lib/expm1
// #use lib/rows
fn merge(keep: f32, old: f32, fresh: f32) -> f32 { return fma(keep, old, fresh); }
fn row_count() -> u32 { return args.S; }
fn row_main(row: u32, lane: u32, lanes: u32) {
  let at = row * args.Y;
  let o = offset[row];
  var peak_f = -3.4e38;
  var peak_r = -3.4e38;
  for (var v = lane; v < args.count; v += lanes) {
    peak_f = max(peak_f, tile[at + v]);
    peak_r = max(peak_r, ref_tile[at + v]);
  }
  peak_f = lane_max(peak_f);
  peak_r = lane_max(peak_r);
  let c = row * 8u;
  var next_f = peak_f;
  var next_r = peak_r;
  var keep_f = 0.0;
  var keep_r = 0.0;
  if (args.v0 > 0u) {
    next_f = max(peak_f, criterion[c]);
    next_r = max(peak_r, criterion[c + 2u]);
    keep_f = exp(criterion[c] - next_f);
    keep_r = exp(criterion[c + 2u] - next_r);
  }
  var zf = 0.0; var zr = 0.0; var up = 0.0; var down = 0.0; var k1 = 0.0; var k2 = 0.0;
  for (var v = lane; v < args.count; v += lanes) {
    let f = tile[at + v];
    let r = ref_tile[at + v];
    let pf = exp(f - next_f);
    let pr = exp(r - next_r);
    let d = (f - r) - o;
    zf += pf;
    zr += pr;
    up = fma(pf, expm1(args.epsilon * d), up);
    down = fma(pf, expm1(-args.epsilon * d), down);
    k1 = fma(pf, d, k1);
    k2 = fma(pr, -d, k2);
  }
  zf = lane_sum(zf); zr = lane_sum(zr); up = lane_sum(up); down = lane_sum(down); k1 = lane_sum(k1); k2 = lane_sum(k2);
  if (lane != 0u) { return; }
  if (args.v0 > 0u) {
    zf = merge(keep_f, criterion[c + 1u], zf);
    zr = merge(keep_r, criterion[c + 3u], zr);
    up = merge(keep_f, criterion[c + 4u], up);
    down = merge(keep_f, criterion[c + 5u], down);
    k1 = merge(keep_f, criterion[c + 6u], k1);
    k2 = merge(keep_r, criterion[c + 7u], k2);
  }
  criterion[c] = next_f;
  criterion[c + 1u] = zf;
  criterion[c + 2u] = next_r;
  criterion[c + 3u] = zr;
  criterion[c + 4u] = up;
  criterion[c + 5u] = down;
  criterion[c + 6u] = k1;
  criterion[c + 7u] = k2;
}
