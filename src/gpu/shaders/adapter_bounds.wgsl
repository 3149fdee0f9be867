// Of the matrices in a buffer w, by segments: bounds[slot] = max |w|, and of a row w_o that is to be bounded bounds[slot + 1] = max over rows of
// factor (sqrt(I) |g w_o|_2 + Σ |b_i w_oi|), the most it makes of g x + b for any x of root mean square at most 1, as bits (those of positive floats order as integers).
// A segment is two vec4s: first element, elements, slot, first pair of gains (NO_GAIN: all g are 1 and b 0); factor as bits, 0 where only max |w| is wanted.
// gains: pairs |g|, |b|.   One subgroup per segment.
// #use lib/rows
fn row_count() -> u32 { return args.S; }
fn row_main(row: u32, lane: u32, lanes: u32) {
  let s = segments[2u * row];
  let factor = bitcast<f32>(segments[2u * row + 1u].x);
  var peak = 0.0;
  var squares = 0.0;
  var shift = 0.0;
  for (var i = lane; i < s.y; i += lanes) {
    let v = abs(w[s.x + i]);
    var g = vec2f(1.0, 0.0);
    if (s.w != NO_GAIN) { g = gains[s.w + i]; }
    let scaled = v * g.x;
    peak = max(peak, v);
    squares += scaled * scaled;
    shift += v * g.y;
  }
  let top = lane_max(peak);
  let bound = factor * (sqrt(f32(s.y)) * sqrt(lane_sum(squares)) + lane_sum(shift));
  if (lane != 0u) { return; }
  atomicMax(&bounds[s.z], bitcast<u32>(top));
  if (factor > 0.0) { atomicMax(&bounds[s.z + 1u], bitcast<u32>(bound)); }
}
