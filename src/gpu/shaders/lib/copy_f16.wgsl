// The f16 copy of a matrix of I columns, whole fours: elements 4t ... 4t + 3 times the scale of `slot`; packed is the operand in halves of its vec4s.
// #use lib/packed_f16
fn copy(t: u32, x: vec4f) {
  let row = t * 4u / args.I;
  let col = t * 4u % args.I;
  packed[packed_at(row, col / 8u) * 2u + (col / 4u) % 2u] = halves(x * scales[args.slot]);
}
