// dbias[l] += sum_s dh[s,l], dmix[l] += sum_s dsum[s] h[s,l].   h, dh [S,L], dsum [S], dbias [L], dmix [1,L].   One thread per layer.
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let l = linear_group(group, groups) * WG + local;
  if (l >= args.L) { return; }
  var b = 0.0;
  var v = 0.0;
  for (var s = 0u; s < args.S; s++) {
    b += dh[s * args.L + l];
    v += dsum[s] * h[s * args.L + l];
  }
  dbias[l] += b;
  dmix[l] += v;
}
