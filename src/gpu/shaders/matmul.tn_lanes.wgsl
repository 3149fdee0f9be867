// As matmul.tn_vec4 for drivers that run lanes in SIMD registers of a processor (see matmul.nt_lanes): lanes hold different
// columns of b and share 16 columns of a. A thread makes 16 rows x 4 columns.
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let g = linear_group(group, groups);
  let inner = args.I / 4u;
  let wide = args.X / 4u;
  let blocks = (inner + WG - 1u) / WG;
  let c = (g / blocks) * 4u;
  if (c * 4u >= args.count) { return; }
  let last = args.count / 4u - 1u;
  let c1 = min(c + 1u, last);
  let c2 = min(c + 2u, last);
  let c3 = min(c + 3u, last);
  let column = (g % blocks) * WG + local;
  let i = min(column, inner - 1u);
  var s0 = mat4x4f(); var s1 = mat4x4f(); var s2 = mat4x4f(); var s3 = mat4x4f();
  for (var m = 0u; m < args.M; m++) {
    let bv = b[m * inner + i];
    let at = m * wide;
    s0 = outer(s0, a[at + c], bv);
    s1 = outer(s1, a[at + c1], bv);
    s2 = outer(s2, a[at + c2], bv);
    s3 = outer(s3, a[at + c3], bv);
  }
  if (column >= inner) { return; }
  add(c, i, s0);
  if (c < last) { add(c1, i, s1); }
  if (c + 1u < last) { add(c2, i, s2); }
  if (c + 2u < last) { add(c3, i, s3); }
}
fn outer(s: mat4x4f, a: vec4f, b: vec4f) -> mat4x4f {
  return mat4x4f(fma(vec4f(a.x), b, s[0]), fma(vec4f(a.y), b, s[1]), fma(vec4f(a.z), b, s[2]), fma(vec4f(a.w), b, s[3]));
}
fn add(c: u32, i: u32, s: mat4x4f) {
  let inner = args.I / 4u;
  let at = (args.first + c * 4u) * inner + i;
  y[at] = y[at] + s[0];
  y[at + inner] = y[at + inner] + s[1];
  y[at + 2u * inner] = y[at + 2u * inner] + s[2];
  y[at + 3u * inner] = y[at + 3u * inner] + s[3];
}
