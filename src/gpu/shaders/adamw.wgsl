// AdamW (Loshchilov & Hutter 2019) as torch.optim.AdamW computes it, gradient times the clip coefficient:
//   p *= 1 - lr*wd;  m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2;  p -= lr/c1 * m / (sqrt(v)/sqrt(c2) + eps).
// value, grad, m, v flat [E]; step_state: clip at 1, skip flag at 2, c1 at 4, c2 at 5.   One thread per PER elements.
// #use lib/grid
// #use lib/master_f32
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  if (step_state[2] != 0.0) { return; }
  let first = (linear_group(group, groups) * WG + local) * PER;
  for (var t = first; t < min(first + PER, args.E); t++) {
    let g = grad[t] * step_state[1];
    let m1 = fma(args.beta1, m[t], args.oneMinusBeta1 * g);
    let v1 = fma(args.beta2, v[t], args.oneMinusBeta2 * g * g);
    m[t] = m1;
    v[t] = v1;
    let denominator = sqrt(v1) / sqrt(step_state[5]) + args.epsilon;
    let old = read_value(t);
    let decayed = old - old * (args.lr * args.weightDecay);
    write_value(t, decayed - (args.lr / step_state[4]) * (m1 / denominator));
  }
}
