// The one place where beta moves: once per optimiser step, from the integer counts of steps, unless the step is skipped.
// harmonic (the official code): beta / (1 + eps mean(step)); arithmetic (paper Eq. 6): beta (n0 + n+/(1+eps) + n-/(1-eps)) / n.
// beta_state [4]: beta; step_counts [4]: n+, n-, n0 (zeroed here); step_state [16]: skip flag at 2.   One thread.
@compute @workgroup_size(1)
fn ENTRY() {
  let plus = f32(step_counts[0]);
  let minus = f32(step_counts[1]);
  let n = plus + minus + f32(step_counts[2]);
  step_counts[0] = 0u;
  step_counts[1] = 0u;
  step_counts[2] = 0u;
  if (step_state[2] != 0.0 || n == 0.0) { return; }
  let e = args.epsilon;
  var beta = beta_state[0];
  if (args.arithmetic == 1u) {
    beta = beta * ((n - plus - minus) + plus / (1.0 + e) + minus / (1.0 - e)) / n;
  } else {
    beta = beta / (1.0 + e * (plus - minus) / n);
  }
  beta_state[0] = max(beta, args.beta_min);
}
