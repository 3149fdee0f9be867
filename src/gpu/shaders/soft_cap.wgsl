// f = cap tanh(f / cap), in place.   f [S, Y].   One thread per element.
// #use lib/grid
// #use lib/soft_cap
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  if (t >= args.S * args.Y) { return; }
  f[t] = soft_capped(f[t], args.cap);
}
