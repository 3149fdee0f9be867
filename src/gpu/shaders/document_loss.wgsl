// From summed log-probs to the loss of a document, the coefficients of its tokens, and its row of the ledger.
// seq_stats [Q,12], seq_start [Q+1], beta_state [4]; writes coef [Q,2] and pairs [P,24] (PAIR_COLUMNS); step_counts [4]: n+, n-, n0.
// Sequences of a document follow each other: branches, then what only some methods have (a mismatched response, the prompt last). The ledger's sums are
// plain ones; a Side has token weights in its own (`side`, by its recorder).   One thread per document. The loss's body is `loss_document`, from its file.
// #use lib/bf16
struct Side { logp: f32, ref_logp: f32, tokens: f32, kl: f32, weight: f32, kl_weight: f32, sharpness: f32, ref_entropy: f32 }
struct Loss { value: f32, cw: f32, cl: f32, kw: f32, kl: f32 }
// #use lib/log1p
// #use lib/expm1
// A score's exponent met its limit (f-divergences).
var<private> held: bool;
var<private> desirable: f32 = 1.0;
var<private> prompt: Side;
// Set by the body where the method has them.
var<private> prompt_c: f32;
var<private> column: f32;
fn ordered(up: f32, down: f32, dead: f32) -> f32 {
  if (up > dead && down < -dead) { return 1.0; }
  if (up < -dead && down > dead) { return -1.0; }
  return 0.0;
}
fn epsilon_step(q: u32, up: f32, down: f32) -> f32 {
  if (CRITERION == 2u) {
    var ratio: array<f32, 3>;
    for (var k = 0u; k < 3u; k++) {
      ratio[k] = round_to_bf16(round_to_bf16(seq_stats[q * 12u + 8u + k]) - round_to_bf16(seq_stats[q * 12u + 20u + k]));
    }
    if (ratio[1] > ratio[0] && ratio[0] > ratio[2]) { return 1.0; }
    if (ratio[2] > ratio[0] && ratio[0] > ratio[1]) { return -1.0; }
    return 0.0;
  }
  return ordered(up, down, args.deadzone);
}
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  if (t >= args.P) { return; }
  let q = t * args.stride;
  load_document(t);
  if (PROMPT == 1u) { prompt = side(q + args.stride - 1u); }
  let beta0 = beta_state[0];
  var beta = beta0;
  let w = side(q);
  let at = t * 24u;
  for (var i = 0u; i < 24u; i++) { pairs[at + i] = 0.0; }
  let a = seq_stats[q * 12u];
  let a_ref = seq_stats[q * 12u + 1u];
  pairs[at] = a;
  pairs[at + 2u] = a_ref;
  pairs[at + 14u] = seq_stats[q * 12u + 4u];
  pairs[at + 16u] = seq_stats[q * 12u + 5u];
  pairs[at + 18u] = seq_stats[q * 12u + 6u];
  pairs[at + 20u] = w.tokens;
  var l = Side(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
  if (K == 2u) {
    l = side(q + 1u);
    let up = seq_stats[q * 12u + 2u] - seq_stats[q * 12u + 14u];
    let down = seq_stats[q * 12u + 3u] - seq_stats[q * 12u + 15u];
    var step = 0.0;
    if (HIDDEN == 1u) { step = epsilon_step(q, up, down); }
    if (ADAPTIVE == 1u) {
      beta = beta0 / (1.0 + args.epsilon_size * step);
      if (args.training == 1u) {
        if (step > 0.0) { atomicAdd(&step_counts[0], 1u); } else if (step < 0.0) { atomicAdd(&step_counts[1], 1u); } else { atomicAdd(&step_counts[2], 1u); }
      }
    }
    let b = seq_stats[q * 12u + 12u];
    let b_ref = seq_stats[q * 12u + 13u];
    pairs[at + 1u] = b;
    pairs[at + 3u] = b_ref;
    pairs[at + 4u] = (a - a_ref) - (b - b_ref);
    pairs[at + 5u] = a - b;
    pairs[at + 6u] = up;
    pairs[at + 7u] = down;
    pairs[at + 8u] = step;
    pairs[at + 13u] = reward_of(l, beta);
    pairs[at + 15u] = seq_stats[q * 12u + 16u];
    pairs[at + 17u] = seq_stats[q * 12u + 17u];
    pairs[at + 19u] = seq_stats[q * 12u + 18u];
    pairs[at + 21u] = l.tokens;
  }
  pairs[at + 9u] = beta;
  pairs[at + 12u] = reward_of(w, beta);
  let loss = loss_document(w, l, beta);
  pairs[at + 10u] = loss.value;
  if (COLUMN < 24u) { pairs[at + COLUMN] = column; }
  pairs[at + 22u] = select(0.0, 1.0, held);
  pairs[at + 11u] = loss_document(w, l, args.beta_start).value;
  coef[q * 2u] = loss.cw * args.inv_count;
  coef[q * 2u + 1u] = loss.kw * args.inv_count;
  if (K == 2u) {
    coef[q * 2u + 2u] = loss.cl * args.inv_count;
    coef[q * 2u + 3u] = loss.kl * args.inv_count;
  }
  for (var k = K; k < args.stride; k++) {
    coef[(q + k) * 2u] = select(0.0, prompt_c * args.inv_count, PROMPT == 1u && k == args.stride - 1u);
    coef[(q + k) * 2u + 1u] = 0.0;
  }
}
