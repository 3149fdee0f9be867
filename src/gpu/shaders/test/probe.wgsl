// y = probed(x): the test gives probed; it may use the shared functions.
// #use lib/expm1
// #use lib/log1p
// #use lib/erf
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  if (t < args.E) { y[t] = probed(x[t]); }
}
