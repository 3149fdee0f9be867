// AdamW as in adamw.wgsl with its moments as 8-bit codes, in blocks of 256 elements (Dettmers et al. 2022, arXiv 2110.02861): a moment is
// map[code] * max of its block. map [512]: the signed map for m, then the unsigned one for v; a code is that of the nearest value.
// value, grad flat [E]; m, v: four codes a word; m_max, v_max [blocks].   One subgroup per block; the moments are made twice, for the maxima and to be kept.
// #use lib/rows
// #use lib/master_f32
fn row_count() -> u32 { return (args.E + 255u) / 256u; }
fn nearest(map: u32, x: f32) -> u32 {
  var low = 0u;
  for (var step = 128u; step > 0u; step /= 2u) {
    if (maps[map + low + step] <= x) { low += step; }
  }
  if (low == 255u) { return low; }
  return select(low, low + 1u, x > (maps[map + low] + maps[map + low + 1u]) * 0.5);
}
fn code(word: u32, j: u32) -> u32 { return (word >> (8u * j)) & 0xffu; }
fn moments(t: u32, m_code: u32, v_code: u32, m_max: f32, v_max: f32) -> vec2f {
  let g = grad[t] * step_state[1];
  return vec2f(
    fma(args.beta1, maps[m_code] * m_max, args.oneMinusBeta1 * g),
    fma(args.beta2, maps[256u + v_code] * v_max, args.oneMinusBeta2 * g * g),
  );
}
fn row_main(row: u32, lane: u32, lanes: u32) {
  if (step_state[2] != 0.0) { return; }
  let old = vec2f(m_max[row], v_max[row]);
  let words = min(64u, (args.E - row * 256u + 3u) / 4u);
  var top = vec2f(0.0);
  for (var w = lane; w < words; w += lanes) {
    let at = row * 64u + w;
    for (var j = 0u; j < min(4u, args.E - at * 4u); j++) {
      top = max(top, abs(moments(at * 4u + j, code(m[at], j), code(v[at], j), old.x, old.y)));
    }
  }
  top = vec2f(lane_max(top.x), lane_max(top.y));
  for (var w = lane; w < words; w += lanes) {
    let at = row * 64u + w;
    var kept = vec2u(0u);
    for (var j = 0u; j < min(4u, args.E - at * 4u); j++) {
      let t = at * 4u + j;
      let now = moments(t, code(m[at], j), code(v[at], j), old.x, old.y);
      let share = select(now / top, vec2f(0.0), top == vec2f(0.0));
      kept |= vec2u(nearest(0u, share.x), nearest(256u, share.y)) << vec2u(8u * j);
      let denominator = sqrt(now.y) / sqrt(step_state[5]) + args.epsilon;
      let before = read_value(t);
      let decayed = before - before * (args.lr * args.weightDecay);
      write_value(t, decayed - (args.lr / step_state[4]) * (now.x / denominator));
    }
    m[at] = kept.x;
    v[at] = kept.y;
  }
  if (lane == 0u) {
    m_max[row] = top.x;
    v_max[row] = top.y;
  }
}
