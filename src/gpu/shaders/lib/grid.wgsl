// Joins a folded grid: workgroup counts over 65,535 are split in x and y (src/gpu/grid.ts).
fn linear_group(group: vec3<u32>, groups: vec3<u32>) -> u32 {
  return group.x + group.y * groups.x;
}
