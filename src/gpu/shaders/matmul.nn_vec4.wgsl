// As matmul.nn with I a multiple of 4: w and y are vec4 along I.
// One thread per 4 rows x 4 columns.
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  let inner = args.I / 4u;
  let m = (t / inner) * 4u;
  let i = t % inner;
  if (m >= args.M) { return; }
  let last = args.M - 1u;
  let x0 = m * args.X;
  let x1 = min(m + 1u, last) * args.X;
  let x2 = min(m + 2u, last) * args.X;
  let x3 = min(m + 3u, last) * args.X;
  var s0 = vec4f(); var s1 = vec4f(); var s2 = vec4f(); var s3 = vec4f();
  var at = args.first * inner + i;
  for (var c = 0u; c < args.count; c++) {
    let b = scaled(weight(at), args.first + c);
    at += inner;
    s0 = fma(vec4f(x[x0 + c]), b, s0);
    s1 = fma(vec4f(x[x1 + c]), b, s1);
    s2 = fma(vec4f(x[x2 + c]), b, s2);
    s3 = fma(vec4f(x[x3 + c]), b, s3);
  }
  store(m, i, s0);
  if (m + 1u < args.M) { store(m + 1u, i, s1); }
  if (m + 2u < args.M) { store(m + 2u, i, s2); }
  if (m + 3u < args.M) { store(m + 3u, i, s3); }
}
fn store(m: u32, i: u32, s: vec4f) {
  let at = m * (args.I / 4u) + i;
  if (ACC == 1u) { y[at] = y[at] + s; } else { y[at] = s; }
}
