// y = act(y + b) by KIND: 0 gelu (erf), 1 tanh; in place.   y [N, D], b [D].   One thread per element.
// #use lib/grid
// #use lib/erf
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  if (t >= args.N * args.D) { return; }
  let z = y[t] + b[t % args.D];
  // tanh overflows in some drivers far out, where it is 1 to the last bit.
  if (KIND == 1u) { y[t] = tanh(clamp(z, -15.0, 15.0)); } else { y[t] = gelu_erf(z); }
}
