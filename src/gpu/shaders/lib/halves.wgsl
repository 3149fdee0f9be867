// Four f32 as the halves of two words.
// #use lib/f16
fn halves(v: vec4f) -> vec2<u32> { return vec2<u32>(f16_bits(v.x) | (f16_bits(v.y) << 16u), f16_bits(v.z) | (f16_bits(v.w) << 16u)); }
