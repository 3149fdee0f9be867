// s + ((a.x t[0] + a.y t[1]) + (a.z t[2] + a.w t[3])): four terms meet before the running sum, whose chain of roundings is
// then a fourth as long as one by one.
fn step4(s: vec4f, a: vec4f, t: mat4x4f) -> vec4f {
  return s + (fma(vec4f(a.y), t[1], a.x * t[0]) + fma(vec4f(a.w), t[3], a.z * t[2]));
}
