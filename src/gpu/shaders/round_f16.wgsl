// y = x rounded to f16 and back, as an f16 sidecar holds it.   x, y [E] flat.   One thread per element.
// #use lib/f16
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  if (t >= args.E) { return; }
  y[t] = round_to_f16(x[t]);
}
