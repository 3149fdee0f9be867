// AdamW (lib/adamw) with its moments as 8-bit codes, in blocks of 256 elements (Dettmers et al. 2022, arXiv 2110.02861): a moment is
// map[code] * max of its block. map [512]: the signed map for m, then the unsigned one for v; a code is that of the nearest value.
// value, grad flat [E]; m, v: four codes a word; m_max, v_max [blocks].   One subgroup per block; the moments are made twice, for the maxima and to be kept.
// #use lib/rows
// #use lib/blocks_8bit
// #use lib/master_f32
alias Vec = f32;
// #use lib/adamw
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
  let now = moments_of(grad[t], maps[m_code] * m_max, maps[256u + v_code] * v_max);
  return vec2f(now.m, now.v);
}
fn row_main(row: u32, lane: u32, lanes: u32) {
  if (step_state[2] != 0.0) { return; }
  let block = block_of(row);
  let old = vec2f(m_max[block.at], v_max[block.at]);
  let words = (block.count + 3u) / 4u;
  var top = vec2f(0.0);
  for (var w = lane; w < words; w += lanes) {
    let at = block.word + w;
    for (var j = 0u; j < min(4u, block.count - w * 4u); j++) {
      top = max(top, abs(moments(block.first + w * 4u + j, code(m[at], j), code(v[at], j), old.x, old.y)));
    }
  }
  top = vec2f(lane_max(top.x), lane_max(top.y));
  for (var w = lane; w < words; w += lanes) {
    let at = block.word + w;
    var kept = vec2u(0u);
    for (var j = 0u; j < min(4u, block.count - w * 4u); j++) {
      let t = block.first + w * 4u + j;
      let now = moments(t, code(m[at], j), code(v[at], j), old.x, old.y);
      let share = select(now / top, vec2f(0.0), top == vec2f(0.0));
      kept |= vec2u(nearest(0u, share.x), nearest(256u, share.y)) << vec2u(8u * j);
      write_value(t, stepped(read_value(t), now.x, now.y));
    }
    m[at] = kept.x;
    v[at] = kept.y;
  }
  if (lane == 0u) {
    m_max[block.at] = top.x;
    v_max[block.at] = top.y;
  }
}
