// The gate of a gated unit and its derivative, by KIND: 0 silu(g) = g/(1+exp(-g)); 1 gelu(g) = g/2 (1 + tanh u), u = sqrt(2/pi) (g + 0.044715 g^3).
fn gelu_tanh(g: f32) -> f32 {
  // tanh overflows in some drivers far out, where it is 1 to the last bit.
  return tanh(clamp(0.7978845608028654 * fma(0.044715 * g * g, g, g), -15.0, 15.0));
}
fn gate_value(g: f32) -> f32 {
  if (KIND == 1u) { return 0.5 * g * (1.0 + gelu_tanh(g)); }
  return g / (1.0 + exp(-g));
}
fn gate_slope(g: f32) -> f32 {
  if (KIND == 1u) {
    let t = gelu_tanh(g);
    return 0.5 * (1.0 + t) + 0.5 * g * (1.0 - t * t) * 0.7978845608028654 * fma(3.0 * 0.044715 * g, g, 1.0);
  }
  let s = 1.0 / (1.0 + exp(-g));
  return s * (1.0 + g * (1.0 - s));
}
