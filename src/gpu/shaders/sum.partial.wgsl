// partials[slot + t] = sum over elements t, t + SLOTS, ... of term(i).   One thread per slot.
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  if (t >= SLOTS) { return; }
  var sum = 0.0;
  for (var i = t; i < args.E; i += SLOTS) { sum += term(i); }
  partials[args.slot + t] = sum;
}
