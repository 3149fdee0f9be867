// head_grad.bwd straight into an operand of matmul.matrix, from a tile [M, Y] or what was kept of it, of which I columns count.
// #use lib/pack_f16
// #use lib/head_grad
fn four(row: u32, col: u32) -> vec4f {
  if (col >= args.I) { return vec4f(); }
  let f = logit4(row, col);
  return vec4f(logit_gradient(row, col, f.x), logit_gradient(row, col + 1u, f.y), logit_gradient(row, col + 2u, f.z), logit_gradient(row, col + 3u, f.w));
}
