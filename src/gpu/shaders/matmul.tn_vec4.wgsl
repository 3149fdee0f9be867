// As matmul.tn with X, I, count and first multiples of 4: a, b and y are vec4 along their columns.
// One thread per 4x4 patch.
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  let inner = args.I / 4u;
  let c = t / inner;
  let i = t % inner;
  if (c * 4u >= args.count) { return; }
  let wide = args.X / 4u;
  var s0 = vec4f(); var s1 = vec4f(); var s2 = vec4f(); var s3 = vec4f();
  var ia = c;
  var ib = i;
  for (var m = 0u; m < args.M; m++) {
    let av = a[ia];
    let bv = b[ib];
    ia += wide;
    ib += inner;
    s0 = fma(vec4f(av.x), bv, s0);
    s1 = fma(vec4f(av.y), bv, s1);
    s2 = fma(vec4f(av.z), bv, s2);
    s3 = fma(vec4f(av.w), bv, s3);
  }
  let at = (args.first + c * 4u) * inner + i;
  y[at] = y[at] + s0;
  y[at + inner] = y[at + inner] + s1;
  y[at + 2u * inner] = y[at + 2u * inner] + s2;
  y[at + 3u * inner] = y[at + 3u * inner] + s3;
}
