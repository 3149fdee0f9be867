// h[s,layer] = dropout(relu(bias[layer] + sum_d weight[layer,d] (gain[d] x[s,d] + shift[d]))).
// x [S,D], gain, shift [D], weight [L,D], bias [L], keys [S], h [S,L].   One subgroup per scored row.
// #use lib/rows
// #use lib/mask_kept
fn row_count() -> u32 { return args.S; }
fn row_main(row: u32, lane: u32, lanes: u32) {
  var sum = 0.0;
  for (var d = lane; d < args.D; d += lanes) { sum += weight[args.layer * args.D + d] * (gain[d] * x[row * args.D + d] + shift[d]); }
  sum = lane_sum(sum);
  if (lane == 0u) { h[row * args.L + args.layer] = max(sum + bias[args.layer], 0.0) * kept(row, args.layer); }
}
