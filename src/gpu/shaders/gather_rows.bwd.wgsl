// dx[n,:] = sum over the scored rows fed by n, in order, of dy.   offsets [N+1], list [S], dy [S,D], dx [N,D]; writes.
// One thread per element.
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  if (t >= args.N * args.D) { return; }
  let n = t / args.D;
  let d = t % args.D;
  var sum = 0.0;
  for (var i = offsets[n]; i < offsets[n + 1u]; i++) { sum += dy[list[i] * args.D + d]; }
  dx[t] = sum;
}
