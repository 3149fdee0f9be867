// 1/s of a power of two, exactly.
fn inverse(s: f32) -> f32 { return bitcast<f32>(0x7f000000u - bitcast<u32>(s)); }
