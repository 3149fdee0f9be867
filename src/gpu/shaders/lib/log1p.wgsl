// log(1 + x) without cancellation; exactly 0 at 0. 2 atanh(x / (2 + x)) as a series for |x| < 1/2.
fn log1p(x: f32) -> f32 {
  if (abs(x) >= 0.5) { return log(1.0 + x); }
  let z = x / (2.0 + x);
  let q = z * z;
  var p = 1.0 / 17.0;
  p = fma(p, q, 1.0 / 15.0);
  p = fma(p, q, 1.0 / 13.0);
  p = fma(p, q, 1.0 / 11.0);
  p = fma(p, q, 1.0 / 9.0);
  p = fma(p, q, 1.0 / 7.0);
  p = fma(p, q, 1.0 / 5.0);
  p = fma(p, q, 1.0 / 3.0);
  p = fma(p, q, 1.0);
  return 2.0 * z * p;
}
// log(1 + exp(x)), for any x.
fn softplus(x: f32) -> f32 { return max(x, 0.0) + log1p(exp(-abs(x))); }
fn sigmoid(x: f32) -> f32 {
  let e = exp(-abs(x));
  return select(e, 1.0, x >= 0.0) / (1.0 + e);
}
