// x[n,r] = factor x[n,r], in place.   x [N,R].   One thread per element.
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  if (t >= args.N * args.R) { return; }
  x[t] = args.factor * x[t];
}
