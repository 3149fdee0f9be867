// Where rms_norm.fwd_next puts the second norm: in f32.
fn row_count() -> u32 { return args.N; }
fn rows() -> u32 { return args.N; }
fn beyond(row: u32, lane: u32, lanes: u32) { }
fn store_next(row: u32, scale: f32, next: f32, lane: u32, lanes: u32) {
  let width = args.D / WIDTH;
  for (var d = lane; d < width; d += lanes * SIDE) {
    // #for i SIDE
    var v$i = Vec();
    if (d + $iu * lanes < width) { v$i = four(row, d + $iu * lanes, scale, next); }
    // #end
    // #for i SIDE
    if (d + $iu * lanes < width) { h[row * width + d + $iu * lanes] = v$i; }
    // #end
  }
}
