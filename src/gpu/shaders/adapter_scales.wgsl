// scales[targets[b]] = the power of two that brings bounds[b] (bits of a float) to at most TOP; bounds[b] <- 0.   targets, bounds [B].   One thread per bound.
// #use lib/grid
// #use lib/operand_scale
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let b = linear_group(group, groups) * WG + local;
  if (b >= args.B) { return; }
  scales[targets[b]] = operand_scale(bitcast<f32>(bounds[b]), F_TOP);
  bounds[b] = 0u;
}
