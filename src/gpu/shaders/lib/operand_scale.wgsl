// The largest power of two s with peak * s <= top, top one too; 1 for a peak of 0. Exponents stay within -60 .. 60, so that products of scales with sums stay finite.
fn operand_scale(peak: f32, top: f32) -> f32 {
  if (peak == 0.0) { return 1.0; }
  let p = bitcast<u32>(peak);
  // ceil(log2 peak): one more than the exponent unless the significand is 1. A subnormal peak counts as 2^-126.
  let e = max(i32(p >> 23u) - 127, -126) + select(0, 1, (p & 0x7fffffu) != 0u);
  let t = i32(bitcast<u32>(top) >> 23u) - 127;
  return bitcast<f32>(u32(clamp(t - e, -60, 60) + 127) << 23u);
}
