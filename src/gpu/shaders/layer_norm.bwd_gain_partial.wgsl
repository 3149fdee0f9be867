// partial[b, d] = sum over rows b*ROWS .. of dy * (x - mean) * rstd.   x, dy [N, D], mean, rstd [N], partial [B, D].
// One thread per (block, column).
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let i = linear_group(group, groups) * WG + local;
  let block = i / args.D;
  let d = i % args.D;
  if (block * ROWS >= args.N) { return; }
  var sum = 0.0;
  let end = min(args.N, (block + 1u) * ROWS);
  for (var n = block * ROWS; n < end; n++) { sum += dy[n * args.D + d] * (x[n * args.D + d] - mean[n]) * rstd[n]; }
  partial[block * args.D + d] = sum;
}
