// Folds tiles of policy and reference logits f, r into what the epsilon-criterion and both KLs need (losses.md 1.4), FOLD columns at a time.
// tile, ref_tile [S,Y], offset [S] = o, criterion [S,8]: m_f, Z_f, m_r, Z_r, T+, T- = sum e^(f-m_f) expm1(+-eps (f-r-o)),
// K1 = sum e^(f-m_f)(f-r-o), K2 = sum e^(r-m_r)(r-f+o).   One subgroup per row.
// Both softmaxes go through one function, so that f = r bit for bit gives equal sums and T = 0. Where the reference's tiles are kept, only stores are added.
// #use lib/expm1
// #use lib/rows
// #use lib/tile_fours
// #use lib/keep_none
fn merge(share: f32, old: f32, fresh: f32) -> f32 { return fma(share, old, fresh); }
fn row_count() -> u32 { return args.S; }
fn row_main(row: u32, lane: u32, lanes: u32) {
  let at = row * args.Y / 4u;
  let hop = 4u * lanes;
  let o = offset[row];
  let c = row * 8u;
  var m_f = 0.0; var m_r = 0.0;
  var z_f = 0.0; var z_r = 0.0; var t_up = 0.0; var t_down = 0.0; var k_1 = 0.0; var k_2 = 0.0;
  if (args.v0 > 0u) {
    m_f = criterion[c];
    z_f = criterion[c + 1u];
    m_r = criterion[c + 2u];
    z_r = criterion[c + 3u];
    t_up = criterion[c + 4u];
    t_down = criterion[c + 5u];
    k_1 = criterion[c + 6u];
    k_2 = criterion[c + 7u];
  }
  for (var b = 0u; b < args.count; b += FOLD) {
    let end = min(b + FOLD, args.count);
    let first = args.v0 + b == 0u;
    var peak_f = vec4f(LOW);
    var peak_r = vec4f(LOW);
    for (var v = b + 4u * lane; v < end; v += AHEAD * hop) {
      // #for i AHEAD
      let f$i = tile[at + four_at(v + $iu * hop, end)];
      let r$i = ref_tile[at + four_at(v + $iu * hop, end)];
      // #end
      // #for i AHEAD
      peak_f = max(peak_f, low_outside(f$i, v + $iu * hop, end));
      peak_r = max(peak_r, low_outside(r$i, v + $iu * hop, end));
      // #end
    }
    var next_f = lane_max(max4(peak_f));
    var next_r = lane_max(max4(peak_r));
    var share_f = 0.0;
    var share_r = 0.0;
    if (!first) {
      next_f = max(next_f, m_f);
      next_r = max(next_r, m_r);
      share_f = exp(m_f - next_f);
      share_r = exp(m_r - next_r);
    }
    var zf4 = vec4f(); var zr4 = vec4f(); var up4 = vec4f(); var down4 = vec4f(); var k14 = vec4f(); var k24 = vec4f();
    for (var v = b + 4u * lane; v < end; v += AHEAD * hop) {
      // #for i AHEAD
      let f$i = tile[at + four_at(v + $iu * hop, end)];
      let r$i = ref_tile[at + four_at(v + $iu * hop, end)];
      // #end
      // #for i AHEAD
      let v$i = v + $iu * hop;
      let pf$i = exp(below(f$i - next_f, v$i, end));
      let dr$i = below(r$i - next_r, v$i, end);
      let pr$i = exp(dr$i);
      let d$i = select(vec4f(), (f$i - r$i) - o, within(v$i, end));
      zf4 += pf$i;
      zr4 += pr$i;
      up4 = fma(pf$i, expm1_4(args.epsilon * d$i), up4);
      down4 = fma(pf$i, expm1_4(-args.epsilon * d$i), down4);
      k14 = fma(pf$i, d$i, k14);
      k24 = fma(pr$i, -d$i, k24);
      if (v$i < end) { keep(row, v$i, dr$i); }
      // #end
    }
    var zf = lane_sum(sum4(zf4)); var zr = lane_sum(sum4(zr4)); var up = lane_sum(sum4(up4)); var down = lane_sum(sum4(down4)); var k1 = lane_sum(sum4(k14)); var k2 = lane_sum(sum4(k24));
    if (!first) {
      zf = merge(share_f, z_f, zf);
      zr = merge(share_r, z_r, zr);
      up = merge(share_f, t_up, up);
      down = merge(share_f, t_down, down);
      k1 = merge(share_f, k_1, k1);
      k2 = merge(share_r, k_2, k2);
    }
    m_f = next_f; m_r = next_r;
    z_f = zf; z_r = zr; t_up = up; t_down = down; k_1 = k1; k_2 = k2;
    if (lane == 0u) { keep_top(row, b, next_r); }
  }
  if (lane != 0u) { return; }
  criterion[c] = m_f;
  criterion[c + 1u] = z_f;
  criterion[c + 2u] = m_r;
  criterion[c + 3u] = z_r;
  criterion[c + 4u] = t_up;
  criterion[c + 5u] = t_down;
  criterion[c + 6u] = k_1;
  criterion[c + 7u] = k_2;
}
