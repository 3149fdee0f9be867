// Four columns of a result of matmul.matrix as an operand of attention (lib/operand_rows), rows of Y halves of its vec4s: with bias and turned (lib/result_turned), times the scale of `slot`, in f16.
// #use lib/halves
// #use lib/result_turned
fn start(row: u32, col: u32) -> vec4f { return vec4f(); }
fn put(row: u32, col: u32, part: u32, start: vec4f, alpha: f32, at: u32) {
  if (row >= rows() || col >= cols()) { return; }
  y[row * args.Y + col / 4u] = halves(turned(row, col, alpha, at) * scales[args.slot]);
}
fn finish() {}
