// Folds tiles of policy and reference logits f, r into what the epsilon-criterion and both KLs need (losses.md 1.4), FOLD columns at a time.
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
    var next_f = -3.4e38;
    var next_r = -3.4e38;
    for (var v = b + lane; v < end; v += lanes) {
      next_f = max(next_f, tile[at + v]);
      next_r = max(next_r, ref_tile[at + v]);
    }
    next_f = lane_max(next_f);
    next_r = lane_max(next_r);
    var keep_f = 0.0;
    var keep_r = 0.0;
    if (!first) {
      next_f = max(next_f, m_f);
      next_r = max(next_r, m_r);
      keep_f = exp(m_f - next_f);
      keep_r = exp(m_r - next_r);
    }
    var zf = 0.0; var zr = 0.0; var up = 0.0; var down = 0.0; var k1 = 0.0; var k2 = 0.0;
    for (var v = b + lane; v < end; v += lanes) {
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
    if (!first) {
      zf = merge(keep_f, z_f, zf);
      zr = merge(keep_r, z_r, zr);
      up = merge(keep_f, t_up, up);
      down = merge(keep_f, t_down, down);
      k1 = merge(keep_f, k_1, k1);
      k2 = merge(keep_r, k_2, k2);
    }
    m_f = next_f; m_r = next_r;
    z_f = zf; z_r = zr; t_up = up; t_down = down; k_1 = k1; k_2 = k2;
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
