// y[m,c] = start + sum_i x[m,i] w[first+c,i], c < count.   x [M,I], w [O,I], y [M,Y].
// One thread per 4x4 patch; addresses past an edge are clamped and their results not stored.
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  let patches = (args.count + 3u) / 4u;
  let m = (t / patches) * 4u;
  let c = (t % patches) * 4u;
  if (m >= args.M) { return; }
  var xr: array<u32, 4>;
  var wr: array<u32, 4>;
  for (var i = 0u; i < 4u; i++) {
    xr[i] = min(m + i, args.M - 1u) * args.I;
    wr[i] = (args.first + min(c + i, args.count - 1u)) * args.I;
  }
  var sum: array<vec4f, 4>;
  for (var i = 0u; i < args.I; i++) {
    let b = vec4f(weight(wr[0] + i), weight(wr[1] + i), weight(wr[2] + i), weight(wr[3] + i));
    sum[0] = fma(vec4f(x[xr[0] + i]), b, sum[0]);
    sum[1] = fma(vec4f(x[xr[1] + i]), b, sum[1]);
    sum[2] = fma(vec4f(x[xr[2] + i]), b, sum[2]);
    sum[3] = fma(vec4f(x[xr[3] + i]), b, sum[3]);
  }
  for (var i = 0u; i < 4u && m + i < args.M; i++) {
    for (var j = 0u; j < 4u && c + j < args.count; j++) {
      let at = (m + i) * args.Y + c + j;
      y[at] = start(at) + sum[i][j] * row_scale(args.first + c + j);
    }
  }
}
