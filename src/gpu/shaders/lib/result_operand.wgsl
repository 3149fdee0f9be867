// Four columns of a result of matmul.matrix, times args.times, as an operand under `slot`: width() columns of args.M rows, zero up to the tiles' edges. Where magnitudes are watched
// (gradients), the largest goes to peaks; without STORE that is all that is done.
// #use lib/packed_rows
var<private> peak: u32;
fn start(row: u32, col: u32) -> vec4f { return vec4f(); }
fn put(row: u32, col: u32, part: u32, start: vec4f, alpha: f32, at: u32) {
  let inside = vec4<u32>(col) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(select(0u, width(), row < args.M));
  let v = select(vec4f(), args.times * (alpha * bitcast<vec4f>(tiles[at])), inside);
  peak = max(peak, magnitude4(v));
  // #for s STORE
  packed[2u * packed_at(row, col / 8u) + col / 4u % 2u] = halves(v * scales[args.slot]);
  // #end
}
fn finish() { watch(peak); }
