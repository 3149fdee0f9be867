// dgate = dh * up * s * (1 + g * (1 - s)), dup = dh * g * s, s = 1/(1+exp(-g)).   All [N,F]; writes.   One thread per element.
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  if (t >= args.N * args.F) { return; }
  let g = gate[t];
  let s = 1.0 / (1.0 + exp(-g));
  let d = dh[t];
  dgate[t] = d * up[t] * s * (1.0 + g * (1.0 - s));
  dup[t] = d * g * s;
}
