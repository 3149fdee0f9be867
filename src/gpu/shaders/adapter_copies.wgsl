// Operands of matmul.matrix from the matrices in a buffer w: f16(value * scale), zeros up to whole steps of the products' depth (lib/operand_layout.wgsl).
// A matrix is two vec4s: first element, rows, columns, slot of its scale; first vec4 of its copy, vec4s a row, rows with padding, its first workgroup.
// chunks: the matrix of each workgroup, which makes WG vec4s.
// #use lib/grid
// #use lib/halves
// #use lib/operand_layout
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let chunk = linear_group(group, groups);
  if (chunk >= args.C) { return; }
  let m = chunks[chunk];
  let own = matrices[2u * m];
  let copy = matrices[2u * m + 1u];
  let t = (chunk - copy.w) * WG + local;
  let row = t / copy.y;
  let c = t % copy.y;
  if (row >= copy.z) { return; }
  var v = array<f32, 8>();
  if (row < own.y) {
    for (var j = 0u; j < 8u && c * 8u + j < own.z; j++) { v[j] = w[own.x + row * own.z + c * 8u + j]; }
  }
  packed[copy.x + operand_at(row, c, copy.y)] = packed8(vec4f(v[0], v[1], v[2], v[3]), vec4f(v[4], v[5], v[6], v[7]), scales[own.w]);
}
