// exp(x) - 1 without cancellation; exactly 0 at 0. Taylor by Horner below 1/2 (x^8/9! < 1.1e-8 there, a fifth of the last bit). By ones and by fours the same operations.
fn expm1(x: f32) -> f32 {
  if (abs(x) >= 0.5) { return exp(x) - 1.0; }
  return x * fma(x, fma(x, fma(x, fma(x, fma(x, fma(x, fma(x, 1.0 / 40320.0, 1.0 / 5040.0), 1.0 / 720.0), 1.0 / 120.0), 1.0 / 24.0), 1.0 / 6.0), 0.5), 1.0);
}
fn expm1_4(x: vec4f) -> vec4f {
  var p = fma(x, vec4f(1.0 / 40320.0), vec4f(1.0 / 5040.0));
  p = fma(x, p, vec4f(1.0 / 720.0));
  p = fma(x, p, vec4f(1.0 / 120.0));
  p = fma(x, p, vec4f(1.0 / 24.0));
  p = fma(x, p, vec4f(1.0 / 6.0));
  p = fma(x, p, vec4f(0.5));
  p = fma(x, p, vec4f(1.0));
  return select(x * p, exp(x) - 1.0, abs(x) >= vec4f(0.5));
}
