// h = silu(gate) * up, silu(g) = g / (1 + exp(-g)).   All [N,F].   One thread per element.
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  if (t >= args.N * args.F) { return; }
  let g = gate[t];
  h[t] = g / (1.0 + exp(-g)) * up[t];
}
