// dm = c (logp - ref_logp) + l1 (parts 0, 1) + k KL + l1_kl (parts 0, 2), losses.md 2.6; dsum[s] = dm through mask's relu and dropout, dh[s,l] = that through h's.
// What was dropped or cut is 0 in mask and h. h, dh [S,L], mix [1,L], mask [S,2], coef [Q,2], seq_of [S], stats [S,12], dsum [S].   One thread per scored row.
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let s = linear_group(group, groups) * WG + local;
  if (s >= args.S) { return; }
  let q = seq_of[s] * 2u;
  var dm = 0.0;
  if (args.part != 2u) { dm += coef[q] * (stats[s * 12u] - stats[s * 12u + 1u]) + args.l1 * args.inv_count; }
  if (args.part != 1u) { dm += coef[q + 1u] * stats[s * 12u + 5u] + args.l1_kl * args.inv_count; }
  let grown = 1.0 / (1.0 - args.p);
  let at = s * 2u + select(0u, 1u, args.part == 2u);
  let d = select(0.0, dm * grown, mask[at] > 0.0);
  dsum[s] = d;
  for (var l = 0u; l < args.L; l++) { dh[s * args.L + l] = select(0.0, d * mix[l] * grown, h[s * args.L + l] > 0.0); }
}
