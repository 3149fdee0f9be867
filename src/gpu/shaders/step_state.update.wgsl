// Norm of the whole gradient, clip coefficient min(1, max/(norm + 1e-6)) (torch's clip_grad_norm_), skip flag, and Adam's t.
// step_state: 0 norm, 1 clip, 2 skip, 3 t, 4 = 1 - beta1^t, 5 = 1 - beta2^t, 6 skipped steps.
// 1 - beta^t goes by c <- beta c + (1 - beta): all terms positive, so nothing cancels.   One subgroup.
// #use lib/finite
// #use lib/rows
fn row_count() -> u32 { return 1u; }
fn row_main(row: u32, lane: u32, lanes: u32) {
  // Four sums side by side: one chain of additions would wait for each load.
  var four = vec4f();
  var i = lane;
  for (; i + 3u * lanes < args.K; i += 4u * lanes) { four += vec4f(partials[i], partials[i + lanes], partials[i + 2u * lanes], partials[i + 3u * lanes]); }
  for (; i < args.K; i += lanes) { four.x += partials[i]; }
  let total = lane_sum((four.x + four.y) + (four.z + four.w));
  if (lane != 0u) { return; }
  let norm = sqrt(total);
  step_state[0] = norm;
  if (!is_finite(total)) {
    step_state[1] = 0.0;
    step_state[2] = 1.0;
    step_state[6] += 1.0;
    return;
  }
  var clip = 1.0;
  if (args.maxNorm > 0.0) { clip = min(1.0, args.maxNorm / (norm + 1e-6)); }
  step_state[1] = clip;
  step_state[2] = 0.0;
  step_state[3] += 1.0;
  step_state[4] = fma(args.beta1, step_state[4], args.oneMinusBeta1);
  step_state[5] = fma(args.beta2, step_state[5], args.oneMinusBeta2);
}
