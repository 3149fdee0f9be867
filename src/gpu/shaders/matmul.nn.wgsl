// y[m,i] (+)= sum_{c<count} x[m,c] w[first+c,i].   x [M,X], w [O,I], y [M,I]; adds when ACC.
// One thread per 4x4 patch.
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  let patches = (args.I + 3u) / 4u;
  let m = (t / patches) * 4u;
  let i = (t % patches) * 4u;
  if (m >= args.M) { return; }
  let last = args.I - 1u;
  let i1 = min(i + 1u, last);
  let i2 = min(i + 2u, last);
  let i3 = min(i + 3u, last);
  var xr: array<u32, 4>;
  for (var k = 0u; k < 4u; k++) { xr[k] = min(m + k, args.M - 1u) * args.X; }
  var sum: array<vec4f, 4>;
  for (var c = 0u; c < args.count; c++) {
    let row = (args.first + c) * args.I;
    let b = scaled(vec4f(weight(row + i), weight(row + i1), weight(row + i2), weight(row + i3)), args.first + c);
    sum[0] = fma(vec4f(x[xr[0] + c]), b, sum[0]);
    sum[1] = fma(vec4f(x[xr[1] + c]), b, sum[1]);
    sum[2] = fma(vec4f(x[xr[2] + c]), b, sum[2]);
    sum[3] = fma(vec4f(x[xr[3] + c]), b, sum[3]);
  }
  for (var k = 0u; k < 4u && m + k < args.M; k++) {
    for (var j = 0u; j < 4u && i + j < args.I; j++) {
      let at = (m + k) * args.I + i + j;
      if (ACC == 1u) { y[at] = y[at] + sum[k][j]; } else { y[at] = sum[k][j]; }
    }
  }
}
