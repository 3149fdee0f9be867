// lib/rows for adapters without subgroups: one thread per row, lanes = 1.
// #use lib/grid
fn lane_sum(x: f32) -> f32 { return x; }
fn lane_max(x: f32) -> f32 { return x; }

@compute @workgroup_size(WG)
fn ENTRY(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  let row = linear_group(group, groups) * WG + local;
  if (row >= row_count()) { return; }
  row_main(row, 0u, 1u);
}
