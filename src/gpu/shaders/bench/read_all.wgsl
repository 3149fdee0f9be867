// Reads x [E] vectors of four once, neighbouring threads neighbouring ones, and keeps a sum that is never stored.
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let first = linear_group(group, groups) * WG * PER + local;
  var sum = vec4f();
  for (var i = 0u; i < PER; i++) { sum += x[min(first + i * WG, args.E - 1u)]; }
  if (sum.x + sum.y + sum.z + sum.w == args.never) { out[0] = 1.0; }
}
