// y = alpha x + (1 - alpha) y, in place.   x, y [E] flat.   One thread per element.
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  if (t >= args.E) { return; }
  y[t] = args.alpha * x[t] + (1.0 - args.alpha) * y[t];
}
