// Four columns of a result of matmul.matrix, y [.., Y] in f32. The form gives y_row(), what is added (`start`, `joined`) and, by the WIDTH of y's elements, `store`.
fn y_at(row: u32, col: u32, part: u32) -> u32 { return (y_row(row, part) * args.Y + col) / WIDTH; }
fn put(row: u32, col: u32, part: u32, start: vec4f, alpha: f32, at: u32) {
  if (row < rows() && col < cols()) { store(y_at(row, col, part), col, joined(start, alpha * bitcast<vec4f>(tiles[at]))); }
}
fn finish() {}
