// swiglu.fwd straight into an operand of matmul.matrix: h = act(gate) * up is never stored in f32.   gate, up [M, Y = I] in fours.
// #use lib/pack_f16
// #use lib/gate
fn four(row: u32, col: u32) -> vec4f {
  if (col >= args.I) { return vec4f(); }
  let e = (row * args.Y + col) / 4u;
  return gate_value4(gate[e]) * up[e];
}
