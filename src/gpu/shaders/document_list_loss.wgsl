// From summed log-probs to the loss of a list of K responses, the coefficient of each one's tokens, and a row of the ledger: the best response as chosen,
// the last as rejected.   seq_stats [Q,12], seq_start [Q+1], doc_start [P+1] (first sequence), scores [Q]; writes coef [Q,2], pairs [P,24] (PAIR_COLUMNS).
// One thread per document. The loss's own functions are `list_loss` and `list_c`, from its file in src/model/losses.
struct Side { logp: f32, tokens: f32 }
fn list_side(q: u32) -> Side { return Side(seq_stats[q * 12u], f32(seq_start[q + 1u] - seq_start[q])); }
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  if (t >= args.P) { return; }
  let first = doc_start[t];
  let K = doc_start[t + 1u] - first;
  let last = first + K - 1u;
  let at = t * 24u;
  for (var i = 0u; i < 24u; i++) { pairs[at + i] = 0.0; }
  let best = list_side(first);
  let worst = list_side(last);
  pairs[at] = best.logp;
  pairs[at + 1u] = worst.logp;
  pairs[at + 5u] = best.logp - worst.logp;
  pairs[at + 9u] = args.beta;
  pairs[at + 10u] = list_loss(first, K);
  pairs[at + 12u] = reward_of(best, args.beta);
  pairs[at + 13u] = reward_of(worst, args.beta);
  pairs[at + 18u] = seq_stats[first * 12u + 6u];
  pairs[at + 19u] = seq_stats[last * 12u + 6u];
  pairs[at + 20u] = best.tokens;
  pairs[at + 21u] = worst.tokens;
  for (var i = 0u; i < K; i++) {
    coef[(first + i) * 2u] = list_c(i, first, K) * args.inv_count;
    coef[(first + i) * 2u + 1u] = 0.0;
  }
}
