// s + a.x t[0] + a.y t[1] + a.z t[2] + a.w t[3], added in this order.
fn step4(s: vec4f, a: vec4f, t: mat4x4f) -> vec4f {
  return fma(vec4f(a.w), t[3], fma(vec4f(a.z), t[2], fma(vec4f(a.y), t[1], fma(vec4f(a.x), t[0], s))));
}
