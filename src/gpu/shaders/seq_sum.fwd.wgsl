// seq_stats[q,:] = sum over the scored rows of sequence q of stats[s,:].   stats [S,W], seq_start [Q+1], seq_stats [Q,W].
// One subgroup per sequence, lanes stride over its rows: the order depends on the sequence alone.
// #use lib/rows
fn row_count() -> u32 { return args.Q; }
fn row_main(row: u32, lane: u32, lanes: u32) {
  for (var column = 0u; column < args.W; column++) {
    var sum = 0.0;
    // Blocks of 16 keep a long sum's rounding near that of a short one.
    for (var s = seq_start[row] + lane; s < seq_start[row + 1u]; s += 16u * lanes) {
      var part = 0.0;
      for (var i = 0u; i < 16u && s + i * lanes < seq_start[row + 1u]; i++) { part += stats[(s + i * lanes) * args.W + column]; }
      sum += part;
    }
    sum = lane_sum(sum);
    if (lane == 0u) { seq_stats[row * args.W + column] = sum; }
  }
}
