// Four columns of a result of matmul.matrix where half of a tile's columns are gate's and half up's, of the same outputs: h = act(gate) * up (lib/gate) as an operand under
// `slot`, zero up to the tiles' edges; with KEEP gate and up in f32 besides, [M, F] in fours.
// #use lib/packed_rows
// #use lib/gate
const HALF = BN / 2u;
fn start(row: u32, col: u32) -> vec4f { return vec4f(); }
fn put(row: u32, col: u32, part: u32, start: vec4f, alpha: f32, at: u32) {
  let f = col / BN * HALF + col % HALF;
  let inside = row < args.M && f < args.F;
  let of_up = inverse(scales[args.slot_a]) * inverse(scales[args.slot_up]);
  if (col % BN >= HALF) {
    // #for k KEEP
    if (inside) { up[(row * args.F + f) / 4u] = of_up * bitcast<vec4f>(tiles[at]); }
    // #end
    return;
  }
  let g = alpha * bitcast<vec4f>(tiles[at]);
  // #for k KEEP
  if (inside) { gate[(row * args.F + f) / 4u] = g; }
  // #end
  let h = gate_value4(g) * (of_up * bitcast<vec4f>(tiles[at + HALF / 4u]));
  packed[2u * packed_at(row, f / 8u) + f / 4u % 2u] = halves(select(vec4f(), h, inside) * scales[args.slot]);
}
fn finish() {}
