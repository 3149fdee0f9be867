// y[n,j] = the pair x[n,2j], x[n,2j+1] as f16, times the power of two that puts the row's largest magnitude in [2^14, 2^15): no overflow, and 11 bits of
// everything down to 2^-28 of it. back[n] = that power's inverse.   x [N, I], y [N, J], back [N].   One subgroup per row.
// #use lib/f16
// #use lib/rows
fn row_count() -> u32 { return args.N; }
fn row_main(n: u32, lane: u32, lanes: u32) {
  var top = 0.0;
  for (var i = lane; i < args.I; i += lanes) { top = max(top, abs(x[n * args.I + i])); }
  top = lane_max(top);
  let e = clamp((bitcast<u32>(top) >> 23u) & 0xffu, 16u, 254u);
  let power = bitcast<f32>((268u - e) << 23u);
  if (lane == 0u) { back[n] = bitcast<f32>((e - 14u) << 23u); }
  for (var j = lane; j < args.J; j += lanes) {
    let at = n * args.I + 2u * j;
    var high = 0u;
    if (2u * j + 1u < args.I) { high = f16_bits(x[at + 1u] * power); }
    y[n * args.J + j] = f16_bits(x[at] * power) | (high << 16u);
  }
}
