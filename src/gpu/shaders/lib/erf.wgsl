// erf and its complement in f32 without exp or division: polynomials fitted at Chebyshev points, in x^2 below 1, in the middle of
// [1, 2] and of [2, 4] above; 1 - erf(4) is 1.5e-8. Absolute error below 1e-7, of erfc above 1 below 2e-8. Twin: test/reference/encoder.ts.
fn erf_inner(x: f32) -> f32 {
  let t = x * x;
  var p = -9.67359025384806e-06;
  p = fma(p, t, 0.00011268253701075557);
  p = fma(p, t, -0.0008484396524070021);
  p = fma(p, t, 0.005221053410701192);
  p = fma(p, t, -0.026865438309845464);
  p = fma(p, t, 0.11283782622049998);
  p = fma(p, t, -0.37612638475990395);
  // x added last: one rounding of the whole.
  return fma(x, fma(p, t, 0.1283791670623613), x);
}
// Of x * by >= 1: a product that is added to is an fma, so that every kernel has the same bits.
fn erfc_outer(x: f32, by: f32) -> f32 {
  if (x * by >= 4.0) { return 0.0; }
  if (x * by >= 2.0) {
    let u = fma(x, by, -3.0);
    var p = 9.467147875986403e-06;
    p = fma(p, u, -2.211728966346049e-05);
    p = fma(p, u, -1.1897126980719029e-05);
    p = fma(p, u, 0.00014112260157321134);
    p = fma(p, u, -0.00039187690245580186);
    p = fma(p, u, 0.0007350006868819579);
    p = fma(p, u, -0.0010161499000435213);
    p = fma(p, u, 0.0010450755329271067);
    p = fma(p, u, -0.0007891516479984442);
    p = fma(p, u, 0.00041770306286132016);
    p = fma(p, u, -0.00013925119621480998);
    return fma(p, u, 2.2091256382120845e-05);
  }
  let u = fma(2.0 * x, by, -3.0);
  var p = -3.0086162179935533e-06;
  p = fma(p, u, 9.382539965907019e-06);
  p = fma(p, u, 3.6727840710017955e-05);
  p = fma(p, u, -0.0003020848365517819);
  p = fma(p, u, 0.0004647138274708076);
  p = fma(p, u, 0.00278746551667666);
  p = fma(p, u, -0.017344025852713357);
  p = fma(p, u, 0.04459885412020254);
  p = fma(p, u, -0.059465143347603944);
  return fma(p, u, 0.03389485360790635);
}
fn erf(x: f32) -> f32 {
  let a = abs(x);
  if (a < 1.0) { return erf_inner(x); }
  return sign(x) * (1.0 - erfc_outer(a, 1.0));
}
// Phi(x) = (1 + erf(x / sqrt 2)) / 2; the left tail from erfc itself, so that nothing cancels there.
fn normal_cdf(x: f32) -> f32 {
  let z = x * 0.7071067811865476;
  if (abs(z) < 1.0) { return 0.5 + 0.5 * erf_inner(z); }
  let tail = 0.5 * erfc_outer(abs(x), 0.7071067811865476);
  return select(tail, 1.0 - tail, x > 0.0);
}
// x Phi(x) = x/2 (1 + erf(x / sqrt 2)).
fn gelu_erf(x: f32) -> f32 {
  let z = x * 0.7071067811865476;
  if (abs(z) < 1.0) { return 0.5 * x * (1.0 + erf_inner(z)); }
  return x * normal_cdf(x);
}
