// What a gate or an MLP applies and its derivative, by KIND: 0 silu(g) = g/(1+exp(-g)); 1 gelu(g) = g/2 (1 + tanh u), u = sqrt(2/pi) (g + 0.044715 g^3);
// 2 gelu(g) = g/2 (1 + erf(g/sqrt 2)).
// Products that are added to are fma: a compiler may fuse any, in one kernel and not in another, and those that write operands have the bits of those that write f32.
// #use lib/erf
fn gelu_tanh(g: f32) -> f32 {
  // tanh overflows in some drivers far out, where it is 1 to the last bit.
  return tanh(clamp(0.7978845608028654 * fma(0.044715 * g * g, g, g), -15.0, 15.0));
}
fn gate_value(g: f32) -> f32 {
  if (KIND == 2u) { return gelu_erf(g); }
  if (KIND == 1u) { return 0.5 * g * (1.0 + gelu_tanh(g)); }
  return g / (1.0 + exp(-g));
}
fn gate_slope(g: f32) -> f32 {
  // exp underflows in some drivers far out, where g exp(-g^2/2) is 0 in f32.
  if (KIND == 2u) {
    let phi = 0.3989422804014327 * exp(-0.5 * min(g * g, 170.0));
    return select(fma(g, phi, normal_cdf(g)), select(0.0, 1.0, g > 0.0), abs(g) > 13.0);
  }
  if (KIND == 1u) {
    let t = gelu_tanh(g);
    return fma(0.5 * g * fma(-t, t, 1.0) * 0.7978845608028654, fma(3.0 * 0.044715 * g, g, 1.0), 0.5 * (1.0 + t));
  }
  let s = 1.0 / (1.0 + exp(-g));
  return s * fma(g, 1.0 - s, 1.0);
}
fn gate_value4(g: vec4f) -> vec4f { return vec4f(gate_value(g.x), gate_value(g.y), gate_value(g.z), gate_value(g.w)); }
fn gate_slope4(g: vec4f) -> vec4f { return vec4f(gate_slope(g.x), gate_slope(g.y), gate_slope(g.z), gate_slope(g.w)); }
