// As matmul.nt_vec4 for drivers that run lanes in SIMD registers of a processor: lanes hold different rows and share 16
// columns, so every read of w is one scalar read for all lanes. A thread makes rows m and m + WG.
// The inner axis is added in order, in blocks of 16 elements: short chains of roundings, since log-probs are sums of these.
// #use lib/grid
// #use lib/step4
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let g = linear_group(group, groups);
  let blocks = (args.count + 15u) / 16u;
  let c = (g % blocks) * 16u;
  let first = (g / blocks) * 2u * WG;
  if (first >= args.M) { return; }
  let m = first + local;
  let inner = args.I / 4u;
  let x0 = min(m, args.M - 1u) * inner;
  let x1 = min(m + WG, args.M - 1u) * inner;
  let w00 = row(c); let w01 = row(c + 1u); let w02 = row(c + 2u); let w03 = row(c + 3u);
  let w10 = row(c + 4u); let w11 = row(c + 5u); let w12 = row(c + 6u); let w13 = row(c + 7u);
  let w20 = row(c + 8u); let w21 = row(c + 9u); let w22 = row(c + 10u); let w23 = row(c + 11u);
  let w30 = row(c + 12u); let w31 = row(c + 13u); let w32 = row(c + 14u); let w33 = row(c + 15u);
  var P0 = vec4f(); var P1 = vec4f(); var P2 = vec4f(); var P3 = vec4f();
  var Q0 = vec4f(); var Q1 = vec4f(); var Q2 = vec4f(); var Q3 = vec4f();
  for (var block = 0u; block < inner; block += 4u) {
    var p0 = vec4f(); var p1 = vec4f(); var p2 = vec4f(); var p3 = vec4f();
    var q0 = vec4f(); var q1 = vec4f(); var q2 = vec4f(); var q3 = vec4f();
    let end = min(block + 4u, inner);
    for (var i = block; i < end; i++) {
      let a0 = x[x0 + i];
      let a1 = x[x1 + i];
      let t0 = transpose(mat4x4f(weight(w00 + i), weight(w01 + i), weight(w02 + i), weight(w03 + i)));
      p0 = step4(p0, a0, t0); q0 = step4(q0, a1, t0);
      let t1 = transpose(mat4x4f(weight(w10 + i), weight(w11 + i), weight(w12 + i), weight(w13 + i)));
      p1 = step4(p1, a0, t1); q1 = step4(q1, a1, t1);
      let t2 = transpose(mat4x4f(weight(w20 + i), weight(w21 + i), weight(w22 + i), weight(w23 + i)));
      p2 = step4(p2, a0, t2); q2 = step4(q2, a1, t2);
      let t3 = transpose(mat4x4f(weight(w30 + i), weight(w31 + i), weight(w32 + i), weight(w33 + i)));
      p3 = step4(p3, a0, t3); q3 = step4(q3, a1, t3);
    }
    P0 += p0; P1 += p1; P2 += p2; P3 += p3;
    Q0 += q0; Q1 += q1; Q2 += q2; Q3 += q3;
  }
  store(m, c, P0); store(m, c + 4u, P1); store(m, c + 8u, P2); store(m, c + 12u, P3);
  store(m + WG, c, Q0); store(m + WG, c + 4u, Q1); store(m + WG, c + 8u, Q2); store(m + WG, c + 12u, Q3);
}
fn row(c: u32) -> u32 { return (args.first + min(c, args.count - 1u)) * (args.I / 4u); }
fn store(m: u32, c: u32, s: vec4f) {
  if (m >= args.M) { return; }
  let at = m * args.Y + c;
  let o = args.first + c;
  if (c < args.count) { y[at] = start(at) + s.x * row_scale(o); }
  if (c + 1u < args.count) { y[at + 1u] = start(at + 1u) + s.y * row_scale(o + 1u); }
  if (c + 2u < args.count) { y[at + 2u] = start(at + 2u) + s.z * row_scale(o + 2u); }
  if (c + 3u < args.count) { y[at + 3u] = start(at + 3u) + s.w * row_scale(o + 3u); }
}
