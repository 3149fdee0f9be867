// As lib/result_rows of queries, keys and values, whose columns stand one behind the other, each from a tile's edge on. The form gives side_of(), begin_of() and count_of() a side, its units and store().
// #use lib/halves
// #use lib/result_turned
fn start(row: u32, col: u32) -> vec4f { return vec4f(); }
fn put(row: u32, col: u32, part: u32, start: vec4f, first_alpha: f32, at: u32) {
  let side = side_of(col);
  let own = col - begin_of(side);
  if (row >= rows() || own >= count_of(side)) { return; }
  let alpha = inverse(scales[args.slot_a]) * inverse(scales[slot_b_of(side)]);
  var v: vec4f;
  // Values are not turned.
  if (side == 2u) { v = value(col, alpha, at); } else { v = turned(row, col, alpha, at); }
  store(side, row, own / 4u, halves(v * scales[slot_of(side)]));
}
fn finish() {}
