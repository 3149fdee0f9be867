// What a loss with more than sums adds up, per scored row: terms [S,8] = w log pi, w log rho, w' KL(ref||policy), w, w', log pi - log sum pi^2 (WPO),
// entropy of the reference, 0.   stats [S,12]; weights, log_squares and ref_entropy by the recorder.   One thread per row.
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  if (t >= args.S) { return; }
  let w = weights_of(t);
  terms[t * 8u] = w.x * stats[t * 12u];
  terms[t * 8u + 1u] = w.x * stats[t * 12u + 1u];
  terms[t * 8u + 2u] = w.y * stats[t * 12u + 5u];
  terms[t * 8u + 3u] = w.x;
  terms[t * 8u + 4u] = w.y;
  terms[t * 8u + 5u] = stats[t * 12u] - log_squares(t);
  terms[t * 8u + 6u] = ref_entropy(t);
  terms[t * 8u + 7u] = 0.0;
}
