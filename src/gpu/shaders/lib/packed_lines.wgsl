// A row of a packed operand (lib/packed_rows) by the lanes of its subgroup. The shader gives four(row, d, a, b), the d-th four of D columns from two numbers of the row, and
// also(row, d, v), told of each that is packed.
// #use lib/packed_rows
fn pack_zeros(row: u32, lane: u32, lanes: u32) {
  for (var c = lane; c < args.W; c += lanes) { packed[packed_at(row, c)] = vec4<u32>(); }
}
fn pack_line(row: u32, a: f32, b: f32, lane: u32, lanes: u32) {
  let fours = args.D / 4u;
  let scale = scales[args.slot];
  var peak = 0u;
  for (var c = lane; c < args.W; c += lanes * SIDE) {
    // #for i SIDE
    var l$i = vec4f();
    var r$i = vec4f();
    if (2u * (c + $iu * lanes) < fours) { l$i = four(row, 2u * (c + $iu * lanes), a, b); }
    if (2u * (c + $iu * lanes) + 1u < fours) { r$i = four(row, 2u * (c + $iu * lanes) + 1u, a, b); }
    // #end
    // #for i SIDE
    peak = max(peak, max(magnitude4(l$i), magnitude4(r$i)));
    if (MEASURE == 0u && c + $iu * lanes < args.W) {
      packed[packed_at(row, c + $iu * lanes)] = packed8(l$i, r$i, scale);
      if (2u * (c + $iu * lanes) < fours) { also(row, 2u * (c + $iu * lanes), l$i); }
      if (2u * (c + $iu * lanes) + 1u < fours) { also(row, 2u * (c + $iu * lanes) + 1u, r$i); }
    }
    // #end
  }
  seen(peak);
}
