// The packed form of an operand of matmul.matrix: f16, eight to a vec4<u32>, rows of W vec4s; rows and columns padded to tiles with zeros.
// #use lib/halves
// #use lib/operand_layout
// Where columns 8 c ... 8 c + 7 of a row lie.
fn packed_at(row: u32, c: u32) -> u32 { return operand_at(row, c, args.W); }
