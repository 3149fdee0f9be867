// dgain[d] += sum over blocks of partial[b, d], four sums side by side so that no load waits for an addition.   partial [B, D], dgain [D]; adds.
// One thread per column.
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let d = linear_group(group, groups) * WG + local;
  if (d >= args.D) { return; }
  let blocks = (args.N + ROWS - 1u) / ROWS;
  var four = vec4f();
  var b = 0u;
  for (; b + 4u <= blocks; b += 4u) {
    let at = b * args.D + d;
    four += vec4f(partial[at], partial[at + args.D], partial[at + 2u * args.D], partial[at + 3u * args.D]);
  }
  for (; b < blocks; b++) { four.x += partial[b * args.D + d]; }
  dgain[d] += (four.x + four.y) + (four.z + four.w);
}
