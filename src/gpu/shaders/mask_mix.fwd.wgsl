// mask[s] = dropout(relu(sum_l mix[l] h[s,l])), of log-prob and KL alike (part 0), or of one of the two (1, 2).
// h [S,L], mix [1,L], keys [S], mask [S,2].   One thread per scored row.
// #use lib/grid
// #use lib/mask_kept
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let s = linear_group(group, groups) * WG + local;
  if (s >= args.S) { return; }
  var sum = 0.0;
  for (var l = 0u; l < args.L; l++) { sum += mix[l] * h[s * args.L + l]; }
  let m = max(sum, 0.0) * kept(s, args.L);
  if (args.part != 2u) { mask[s * 2u] = m; }
  if (args.part != 1u) { mask[s * 2u + 1u] = m; }
}
