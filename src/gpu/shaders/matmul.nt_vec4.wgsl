// As matmul.nt with I a multiple of 4: x and w are read four inner elements at a time.
// Each result keeps four partial sums (inner index mod 4), joined at the end in a fixed order.
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  let patches = (args.count + 3u) / 4u;
  let m = (t / patches) * 4u;
  let c = (t % patches) * 4u;
  if (m >= args.M) { return; }
  let inner = args.I / 4u;
  let last = args.M - 1u;
  let x0 = m * inner;
  let x1 = min(m + 1u, last) * inner;
  let x2 = min(m + 2u, last) * inner;
  let x3 = min(m + 3u, last) * inner;
  let end = args.count - 1u;
  let w0 = (args.first + c) * inner;
  let w1 = (args.first + min(c + 1u, end)) * inner;
  let w2 = (args.first + min(c + 2u, end)) * inner;
  let w3 = (args.first + min(c + 3u, end)) * inner;
  var s00 = vec4f(); var s01 = vec4f(); var s02 = vec4f(); var s03 = vec4f();
  var s10 = vec4f(); var s11 = vec4f(); var s12 = vec4f(); var s13 = vec4f();
  var s20 = vec4f(); var s21 = vec4f(); var s22 = vec4f(); var s23 = vec4f();
  var s30 = vec4f(); var s31 = vec4f(); var s32 = vec4f(); var s33 = vec4f();
  for (var i = 0u; i < inner; i++) {
    let a0 = x[x0 + i]; let a1 = x[x1 + i]; let a2 = x[x2 + i]; let a3 = x[x3 + i];
    let b0 = weight(w0 + i); let b1 = weight(w1 + i); let b2 = weight(w2 + i); let b3 = weight(w3 + i);
    s00 = fma(a0, b0, s00); s01 = fma(a0, b1, s01); s02 = fma(a0, b2, s02); s03 = fma(a0, b3, s03);
    s10 = fma(a1, b0, s10); s11 = fma(a1, b1, s11); s12 = fma(a1, b2, s12); s13 = fma(a1, b3, s13);
    s20 = fma(a2, b0, s20); s21 = fma(a2, b1, s21); s22 = fma(a2, b2, s22); s23 = fma(a2, b3, s23);
    s30 = fma(a3, b0, s30); s31 = fma(a3, b1, s31); s32 = fma(a3, b2, s32); s33 = fma(a3, b3, s33);
  }
  let r0 = vec4f(fold(s00), fold(s01), fold(s02), fold(s03));
  let r1 = vec4f(fold(s10), fold(s11), fold(s12), fold(s13));
  let r2 = vec4f(fold(s20), fold(s21), fold(s22), fold(s23));
  let r3 = vec4f(fold(s30), fold(s31), fold(s32), fold(s33));
  store(m, c, r0);
  if (m + 1u < args.M) { store(m + 1u, c, r1); }
  if (m + 2u < args.M) { store(m + 2u, c, r2); }
  if (m + 3u < args.M) { store(m + 3u, c, r3); }
}
fn fold(v: vec4f) -> f32 { return (v.x + v.y) + (v.z + v.w); }
fn store(m: u32, c: u32, r: vec4f) {
  let at = m * args.Y + c;
  let o = args.first + c;
  y[at] = start(at) + r.x * row_scale(o);
  if (c + 1u < args.count) { y[at + 1u] = start(at + 1u) + r.y * row_scale(o + 1u); }
  if (c + 2u < args.count) { y[at + 2u] = start(at + 2u) + r.z * row_scale(o + 2u); }
  if (c + 3u < args.count) { y[at + 3u] = start(at + 3u) + r.w * row_scale(o + 3u); }
}
