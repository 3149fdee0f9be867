// cap tanh(z / cap), and its slope from the capped value; cap 0 leaves z alone.
fn soft_capped(z: f32, cap: f32) -> f32 {
  if (cap > 0.0) { return cap * tanh(clamp(z / cap, -15.0, 15.0)); }
  return z;
}
fn soft_cap_slope(f: f32, cap: f32) -> f32 {
  if (cap > 0.0) { let r = f / cap; return fma(-r, r, 1.0); }
  return 1.0;
}
