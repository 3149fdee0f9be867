// One subgroup per row. The shader defines row_count() and row_main(row, lane, lanes); lanes stride over the row
// and meet in lane_sum / lane_max. lib/rows_serial is the same for adapters without subgroups: one thread per row.
// #use lib/grid
fn lane_sum(x: f32) -> f32 { return subgroupAdd(x); }
fn lane_max(x: f32) -> f32 { return subgroupMax(x); }

@compute @workgroup_size(WG)
fn ENTRY(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(num_subgroups) subgroups: u32,
  @builtin(subgroup_invocation_id) lane: u32,
  @builtin(subgroup_size) lanes: u32,
) {
  let row = linear_group(group, groups) * subgroups + subgroup;
  if (row >= row_count()) { return; }
  row_main(row, lane, lanes);
}
