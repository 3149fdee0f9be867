// column[i] = (1 - s) column[i] + s (sum over the K blocks of partial[k,i] / rows + eps), s = t^-0.8.   partial [K, I], column [I].   One thread per column.
// #use lib/grid
// #use lib/decay
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let i = linear_group(group, groups) * WG + local;
  if (i >= args.I || step_state[2] != 0.0) { return; }
  var sum = 0.0;
  for (var k = 0u; k < args.K; k++) { sum += partial[k * args.I + i]; }
  column[i] = mix(column[i], sum / f32(args.rows) + args.eps, share_of_new());
}
