// Four columns of a result of matmul.matrix with their bias, and turned by the row's position as by rope.wgsl. Heads have C columns, of which the first R are turned; a tile holds whole
// heads, so both of a pair. The form gives biased().
fn value(col: u32, alpha: f32, at: u32) -> vec4f { return biased(alpha * bitcast<vec4f>(tiles[at]), col); }
fn turned(row: u32, col: u32, alpha: f32, at: u32) -> vec4f {
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
  return v;
}
