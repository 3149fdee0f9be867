// The packed form of an operand of matmul.matrix: f16, eight to a vec4<u32>, rows of W vec4s; rows and columns padded to tiles with zeros.
// #use lib/f16
// #use lib/operand_layout
// Where columns 8 c ... 8 c + 7 of a row lie.
fn packed_at(row: u32, c: u32) -> u32 { return operand_at(row, c, args.W); }
fn halves(v: vec4f) -> vec2<u32> { return vec2<u32>(f16_bits(v.x) | (f16_bits(v.y) << 16u), f16_bits(v.z) | (f16_bits(v.w) << 16u)); }
fn packed8(a: vec4f, b: vec4f, scale: f32) -> vec4<u32> { return vec4<u32>(halves(a * scale), halves(b * scale)); }
