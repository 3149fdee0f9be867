// As matmul.nn_vec4, with X and count multiples of 4 too, for drivers that run lanes in SIMD registers of a processor (see
// matmul.nt_lanes): lanes hold different rows and share 16 columns. A thread makes rows m and m + WG.
// #use lib/grid
// #use lib/step4
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let g = linear_group(group, groups);
  let inner = args.I / 4u;
  let blocks = (inner + 3u) / 4u;
  let i = (g % blocks) * 4u;
  let first = (g / blocks) * 2u * WG;
  if (first >= args.M) { return; }
  let m = first + local;
  let x0 = min(m, args.M - 1u) * (args.X / 4u);
  let x1 = min(m + WG, args.M - 1u) * (args.X / 4u);
  let i1 = min(i + 1u, inner - 1u);
  let i2 = min(i + 2u, inner - 1u);
  let i3 = min(i + 3u, inner - 1u);
  var p0 = vec4f(); var p1 = vec4f(); var p2 = vec4f(); var p3 = vec4f();
  var q0 = vec4f(); var q1 = vec4f(); var q2 = vec4f(); var q3 = vec4f();
  for (var c = 0u; c < args.count / 4u; c++) {
    let a0 = x[x0 + c];
    let a1 = x[x1 + c];
    let row = args.first + c * 4u;
    let t0 = four(row, i); p0 = step4(p0, a0, t0); q0 = step4(q0, a1, t0);
    let t1 = four(row, i1); p1 = step4(p1, a0, t1); q1 = step4(q1, a1, t1);
    let t2 = four(row, i2); p2 = step4(p2, a0, t2); q2 = step4(q2, a1, t2);
    let t3 = four(row, i3); p3 = step4(p3, a0, t3); q3 = step4(q3, a1, t3);
  }
  store(m, i, p0); store(m, i + 1u, p1); store(m, i + 2u, p2); store(m, i + 3u, p3);
  store(m + WG, i, q0); store(m + WG, i + 1u, q1); store(m + WG, i + 2u, q2); store(m + WG, i + 3u, q3);
}
fn four(o: u32, i: u32) -> mat4x4f {
  let inner = args.I / 4u;
  let at = o * inner + i;
  return mat4x4f(scaled(weight(at), o), scaled(weight(at + inner), o + 1u), scaled(weight(at + 2u * inner), o + 2u), scaled(weight(at + 3u * inner), o + 3u));
}
fn store(m: u32, i: u32, s: vec4f) {
  if (m >= args.M || i >= args.I / 4u) { return; }
  let at = m * (args.I / 4u) + i;
  if (ACC == 1u) { y[at] = y[at] + s; } else { y[at] = s; }
}
