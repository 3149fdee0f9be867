// h = act(gate) * up (lib/gate).   All [N,F], as Vec (four elements or one).   One thread per Vec.
// #use lib/grid
// #use lib/gate
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  if (t >= args.N * args.F / WIDTH) { return; }
  h[t] = acted(gate[t]) * up[t];
}
