// exp(x) - 1 without cancellation; exactly 0 at 0. Taylor by Horner below 1/2 (x^11/11! < 2e-11 there).
fn expm1(x: f32) -> f32 {
  if (abs(x) >= 0.5) { return exp(x) - 1.0; }
  var p = 1.0 + x * (1.0 / 10.0);
  p = 1.0 + x * (1.0 / 9.0) * p;
  p = 1.0 + x * (1.0 / 8.0) * p;
  p = 1.0 + x * (1.0 / 7.0) * p;
  p = 1.0 + x * (1.0 / 6.0) * p;
  p = 1.0 + x * (1.0 / 5.0) * p;
  p = 1.0 + x * (1.0 / 4.0) * p;
  p = 1.0 + x * (1.0 / 3.0) * p;
  p = 1.0 + x * (1.0 / 2.0) * p;
  return x * p;
}
