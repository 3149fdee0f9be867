// y[first+c,i] += sum_m a[m,c] b[m,i], c < count.   a [M,X], b [M,I], y [O,I].
// One thread per 4x4 patch.
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  let patches = (args.I + 3u) / 4u;
  let c = (t / patches) * 4u;
  let i = (t % patches) * 4u;
  if (c >= args.count) { return; }
  let lc = args.count - 1u;
  let c1 = min(c + 1u, lc); let c2 = min(c + 2u, lc); let c3 = min(c + 3u, lc);
  let li = args.I - 1u;
  let i1 = min(i + 1u, li); let i2 = min(i + 2u, li); let i3 = min(i + 3u, li);
  var sum: array<vec4f, 4>;
  for (var m = 0u; m < args.M; m++) {
    let ar = m * args.X;
    let br = m * args.I;
    let bv = vec4f(b[br + i], b[br + i1], b[br + i2], b[br + i3]);
    sum[0] = fma(vec4f(a[ar + c]), bv, sum[0]);
    sum[1] = fma(vec4f(a[ar + c1]), bv, sum[1]);
    sum[2] = fma(vec4f(a[ar + c2]), bv, sum[2]);
    sum[3] = fma(vec4f(a[ar + c3]), bv, sum[3]);
  }
  for (var k = 0u; k < 4u && c + k < args.count; k++) {
    for (var j = 0u; j < 4u && i + j < args.I; j++) {
      let at = (args.first + c + k) * args.I + i + j;
      y[at] = y[at] + sum[k][j];
    }
  }
}
