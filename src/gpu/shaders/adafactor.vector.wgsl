// v = (1 - s) v + s (grad^2 + eps), s = t^-0.8, for a tensor of one axis.   grad, v [E].   One thread per element.
// #use lib/grid
// #use lib/decay
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  if (t >= args.E || step_state[2] != 0.0) { return; }
  let g = grad[t] * step_state[1];
  v[t] = mix(v[t], fma(g, g, args.eps), share_of_new());
}
