// partial[block + b, i] = sum over rows b*ROWS .. of grad[n,i]^2.   grad [N, I], partial [K, I].   One thread per (block of rows, column).
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  let b = t / args.I;
  let i = t % args.I;
  if (b * args.rows >= args.N) { return; }
  var sum = 0.0;
  for (var n = b * args.rows; n < min(args.N, (b + 1u) * args.rows); n++) {
    let g = grad[n * args.I + i] * step_state[1];
    sum = fma(g, g, sum);
  }
  partial[(args.block + b) * args.I + i] = sum;
}
