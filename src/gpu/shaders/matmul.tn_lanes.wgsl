// As matmul.tn_vec4 for drivers that run lanes in SIMD registers of a processor (see matmul.nt_lanes): lanes hold different
// columns of b and share 8 columns of a. A thread makes 8 rows x 4 columns.
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let g = linear_group(group, groups);
  let inner = args.I / 4u;
  let wide = args.X / 4u;
  let blocks = (inner + WG - 1u) / WG;
  let c0 = (g / blocks) * 2u;
  if (c0 * 4u >= args.count) { return; }
  let c1 = min(c0 + 1u, args.count / 4u - 1u);
  let column = (g % blocks) * WG + local;
  let i = min(column, inner - 1u);
  var p0 = vec4f(); var p1 = vec4f(); var p2 = vec4f(); var p3 = vec4f();
  var q0 = vec4f(); var q1 = vec4f(); var q2 = vec4f(); var q3 = vec4f();
  for (var m = 0u; m < args.M; m++) {
    let bv = b[m * inner + i];
    let a0 = a[m * wide + c0];
    p0 = fma(vec4f(a0.x), bv, p0);
    p1 = fma(vec4f(a0.y), bv, p1);
    p2 = fma(vec4f(a0.z), bv, p2);
    p3 = fma(vec4f(a0.w), bv, p3);
    let a1 = a[m * wide + c1];
    q0 = fma(vec4f(a1.x), bv, q0);
    q1 = fma(vec4f(a1.y), bv, q1);
    q2 = fma(vec4f(a1.z), bv, q2);
    q3 = fma(vec4f(a1.w), bv, q3);
  }
  if (column >= inner) { return; }
  add(c0 * 4u, i, p0); add(c0 * 4u + 1u, i, p1); add(c0 * 4u + 2u, i, p2); add(c0 * 4u + 3u, i, p3);
  if (c0 + 1u != c1) { return; }
  add(c1 * 4u, i, q0); add(c1 * 4u + 1u, i, q1); add(c1 * 4u + 2u, i, q2); add(c1 * 4u + 3u, i, q3);
}
fn add(c: u32, i: u32, s: vec4f) {
  let at = (args.first + c) * (args.I / 4u) + i;
  y[at] = y[at] + s;
}
