// mask[s,:] (+)= scale (y[s] - min)/(max - min), least and largest over the scored rows of s's sequence; where they are one value: scale.
// y [S], seq_start [Q+1], mask [S,2] (of log-prob and KL alike).   One subgroup per sequence.
// #use lib/rows
fn row_count() -> u32 { return args.Q; }
fn row_main(row: u32, lane: u32, lanes: u32) {
  var most = -3.4e38;
  var least = -3.4e38;
  for (var s = seq_start[row] + lane; s < seq_start[row + 1u]; s += lanes) {
    most = max(most, y[s]);
    least = max(least, -y[s]);
  }
  most = lane_max(most);
  least = -lane_max(least);
  for (var s = seq_start[row] + lane; s < seq_start[row + 1u]; s += lanes) {
    var m = args.scale;
    if (most > least) { m = args.scale * ((y[s] - least) / (most - least)); }
    if (args.accumulate == 1u) { m += mask[s * 2u]; }
    mask[s * 2u] = m;
    mask[s * 2u + 1u] = m;
  }
}
