// dx += rstd * (g - mean(g) - z * mean(g*z)), g = gain*dy, z = (x - mean) * rstd.   All [N, D], as Vec (four elements or one); adds to dx.
// One subgroup per row, lanes stride over D. Products meet sums in fma alone, which no driver makes otherwise in one kernel than in another.
// #use lib/rows
fn row_count() -> u32 { return args.N; }
fn row_main(row: u32, lane: u32, lanes: u32) {
  let width = args.D / WIDTH;
  let at = row * width;
  let scale = rstd[row];
  let m = mean[row];
  var plain = Vec();
  var inner = Vec();
  for (var d = lane; d < width; d += lanes * SIDE) {
    // #for i SIDE
    var a$i = Vec();
    var b$i = Vec();
    var z$i = Vec();
    if (d + $iu * lanes < width) {
      a$i = gain[d + $iu * lanes];
      b$i = dy[at + d + $iu * lanes];
      z$i = (x[at + d + $iu * lanes] - m) * scale;
    }
    // #end
    // #for i SIDE
    plain = fma(a$i, b$i, plain);
    inner = fma(a$i * b$i, z$i, inner);
    // #end
  }
  let mean_g = lane_sum(total(plain)) / f32(args.D);
  let mean_gz = lane_sum(total(inner)) / f32(args.D);
  for (var d = lane; d < width; d += lanes * SIDE) {
    // #for i SIDE
    var v$i = Vec();
    if (d + $iu * lanes < width) {
      let beside = fma((x[at + d + $iu * lanes] - m) * scale, Vec(mean_gz), Vec(mean_g));
      v$i = fma(Vec(scale), fma(gain[d + $iu * lanes], dy[at + d + $iu * lanes], -beside), dx[at + d + $iu * lanes]);
    }
    // #end
    // #for i SIDE
    if (d + $iu * lanes < width) { dx[at + d + $iu * lanes] = v$i; }
    // #end
  }
}
