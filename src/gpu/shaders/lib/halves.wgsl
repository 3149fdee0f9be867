// Four f32, and eight times a scale, as f16 rounded to nearest even.
// #use lib/f16
fn halves(v: vec4f) -> vec2<u32> {
  let u = bitcast<vec4<u32>>(v);
  let a = u & vec4<u32>(0x7fffffffu);
  let zero = a == vec4<u32>(0u);
  // 0 or normal in f16, as nearly all are: four at once, without a branch for each.
  if (all(zero | ((a - vec4<u32>(0x38800000u)) < vec4<u32>(0x477ff000u - 0x38800000u)))) {
    let r = (a - vec4<u32>(0x38000000u) + vec4<u32>(0xfffu) + ((a >> vec4<u32>(13u)) & vec4<u32>(1u))) >> vec4<u32>(13u);
    let h = ((u >> vec4<u32>(16u)) & vec4<u32>(0x8000u)) | select(r, vec4<u32>(0u), zero);
    return vec2<u32>(h.x | (h.y << 16u), h.z | (h.w << 16u));
  }
  return vec2<u32>(f16_bits(v.x) | (f16_bits(v.y) << 16u), f16_bits(v.z) | (f16_bits(v.w) << 16u));
}
fn packed8(a: vec4f, b: vec4f, scale: f32) -> vec4<u32> { return vec4<u32>(halves(a * scale), halves(b * scale)); }
