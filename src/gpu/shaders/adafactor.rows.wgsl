// row[n] = (1 - s) row[n] + s mean over i of (grad[n,i]^2 + eps), s = t^-0.8.   grad [N, I], row [N].   One subgroup per row.
// #use lib/rows
// #use lib/decay
fn row_count() -> u32 { return args.N; }
fn row_main(n: u32, lane: u32, lanes: u32) {
  if (step_state[2] != 0.0) { return; }
  var sum = 0.0;
  for (var i = lane; i < args.I; i += lanes) {
    let g = grad[n * args.I + i] * step_state[1];
    sum = fma(g, g, sum);
  }
  let total = lane_sum(sum);
  if (lane != 0u) { return; }
  row[n] = mix(row[n], total / f32(args.I) + args.eps, share_of_new());
}
