// x is neither infinite nor NaN: exponent bits, since `x != x` is optimised away on some drivers.
fn is_finite(x: f32) -> bool { return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u; }
