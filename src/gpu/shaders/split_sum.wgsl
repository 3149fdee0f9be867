// y[offset + i] += Σ_s partial[s, i] in order of s: the sums of a product split over its inner axis.   i < E, s < ceil(M / chunk); offset and E count quads.
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let i = linear_group(group, groups) * WG + local;
  if (i >= args.E) { return; }
  let parts = (args.M + args.chunk - 1u) / args.chunk;
  var sum = partial[i];
  for (var s = 1u; s < parts; s++) { sum += partial[s * args.E + i]; }
  y[args.offset + i] += sum;
}
