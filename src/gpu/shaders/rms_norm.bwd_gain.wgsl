// dgain[d] += sum over blocks, in order, of partial[b, d].   partial [B, D], dgain [D]; adds.
// One thread per column.
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let d = linear_group(group, groups) * WG + local;
  if (d >= args.D) { return; }
  let blocks = (args.N + ROWS - 1u) / ROWS;
  var sum = 0.0;
  for (var b = 0u; b < blocks; b++) { sum += partial[b * args.D + d]; }
  dgain[d] += sum;
}
