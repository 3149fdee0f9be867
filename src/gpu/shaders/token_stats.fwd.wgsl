// Per scored row, from the folded sums: stats [S,12] = logp, ref_logp, delta+, delta-, KL(policy||ref), KL(ref||policy), entropy, lse,
// and for the bf16 criterion the three log-probs rounded to bf16; 0 where a mode does not compute them.
// psi(s) = log1p(T_s/Z) - s (LSE f - LSE r - o), delta+- = +-eps d - psi(+-eps), d = logp - ref_logp (losses.md 1.4).   One thread per row.
// #use lib/log1p
// #use lib/bf16
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  if (t >= args.S) { return; }
  let at = t * 12u;
  let m = state[t * 4u];
  let z = state[t * 4u + 1u];
  let logz = log(z);
  let logp = (state[t * 4u + 3u] - m) - logz;
  stats[at] = logp;
  stats[at + 6u] = logz - state[t * 4u + 2u] / z;
  stats[at + 7u] = m + logz;
  for (var i = 1u; i < 6u; i++) { stats[at + i] = 0.0; }
  for (var i = 8u; i < 12u; i++) { stats[at + i] = 0.0; }
  after(t, at, logp);
}
