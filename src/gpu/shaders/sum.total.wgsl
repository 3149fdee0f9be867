// total[at] = sum of the first K partials, divided by `by`.   One subgroup.
// #use lib/rows
fn row_count() -> u32 { return 1u; }
fn row_main(row: u32, lane: u32, lanes: u32) {
  var sum = 0.0;
  for (var i = lane; i < args.K; i += lanes) { sum += partials[i]; }
  let all = lane_sum(sum);
  if (lane == 0u) { total[args.at] = all / args.by; }
}
