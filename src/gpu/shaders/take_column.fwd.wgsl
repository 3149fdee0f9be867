// y[s] = x[s, column].   x [S, W], y [S].   One thread per row.
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let s = linear_group(group, groups) * WG + local;
  if (s >= args.S) { return; }
  y[s] = x[s * args.W + args.column];
}
