// Four columns of a result of matmul.matrix as an operand of attention (lib/operand_rows), rows of Y halves of its vec4s: a bias added, turned by the row's position as by
// rope.wgsl, times the scale of `slot`, in f16. Heads have C columns, of which the first R are turned; a tile holds whole heads, so both of a pair.
// #use lib/halves
fn start(row: u32, col: u32) -> vec4f { return vec4f(); }
fn value(col: u32, alpha: f32, at: u32) -> vec4f { return biased(alpha * bitcast<vec4f>(tiles[at]), col); }
fn put(row: u32, col: u32, part: u32, start: vec4f, alpha: f32, at: u32) {
  if (row >= rows() || col >= cols()) { return; }
  var v = value(col, alpha, at);
  // #for d TURNS
  let half = args.R / 2u;
  let c = col % args.C;
  if (c < args.R) {
    let low = c < half;
    let other = value(select(col - half, col + half, low), alpha, select(at - half / 4u, at + half / 4u, low));
    let angle = (args.turn + position[row]) * (args.R / 4u) + (c % half) / 4u;
    let si = table[angle + half / 4u];
    v = fma(v, table[angle], select(other * si, -(other * si), low));
  }
  // #end
  y[row * args.Y + col / 4u] = halves(v * scales[args.slot]);
}
fn finish() {}
