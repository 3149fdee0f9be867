// What a matrix can make of a norm's output, for fixing f16 scales at load (model/operands.ts): bounds[slot] = max |w|, bounds[slot + 1] = max over rows o of
// sqrt(I) |g w_o|_2 + Σ |b_i w_oi|, as bits (those of positive floats order as integers).   w [O, I]; g, b [I] gain (less `offset`) and bias of the norm. One
// subgroup per row. sqrt(I) |g w_o| bounds w_o · (g x) for every x of root mean square at most 1.
// #use lib/rows
fn row_count() -> u32 { return args.O; }
fn row_main(row: u32, lane: u32, lanes: u32) {
  var peak = 0.0;
  var squares = 0.0;
  var shift = 0.0;
  for (var i = lane; i < args.I; i += lanes) {
    let v = abs(weight(row * args.I + i) * row_scale(row));
    let scaled = v * (g[i] + args.offset);
    peak = max(peak, v);
    squares += scaled * scaled;
    shift += v * abs(b[i]) * args.biased;
  }
  let top = lane_max(peak);
  let bound = sqrt(f32(args.I)) * sqrt(lane_sum(squares)) + lane_sum(shift);
  if (lane != 0u) { return; }
  atomicMax(&bounds[args.slot], bitcast<u32>(top));
  atomicMax(&bounds[args.slot + 1u], bitcast<u32>(bound));
}
