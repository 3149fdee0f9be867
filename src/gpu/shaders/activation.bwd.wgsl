// dx = dh * act'(x) (lib/gate).   All [N,F]; writes.   One thread per element.
// #use lib/grid
// #use lib/gate
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  if (t >= args.N * args.F) { return; }
  dx[t] = dh[t] * gate_slope(x[t]);
}
