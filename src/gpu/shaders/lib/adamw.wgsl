// AdamW (Loshchilov & Hutter 2019) as torch.optim.AdamW computes it, gradient times the clip coefficient, of one element or four (Vec):
//   p *= 1 - lr*wd;  m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2;  p -= lr/c1 * m / (sqrt(v)/sqrt(c2) + eps).
// step_state: clip at 1, skip flag at 2, c1 at 4, c2 at 5. Products that are added to are fma: the same bits whichever kernel this stands in.
struct Adam { value: Vec, m: Vec, v: Vec }
struct Moments { m: Vec, v: Vec }
fn moments_of(raw: Vec, m: Vec, v: Vec) -> Moments {
  let g = raw * step_state[1];
  return Moments(fma(Vec(args.beta1), m, args.oneMinusBeta1 * g), fma(Vec(args.beta2), v, args.oneMinusBeta2 * g * g));
}
fn stepped(old: Vec, m: Vec, v: Vec) -> Vec {
  let denominator = fma(sqrt(v), Vec(1.0 / sqrt(step_state[5])), Vec(args.epsilon));
  let decayed = fma(Vec(-args.lr * args.weightDecay), old, old);
  return fma(Vec(-args.lr / step_state[4]), m / denominator, decayed);
}
fn adam(old: Vec, raw: Vec, m: Vec, v: Vec) -> Adam {
  let now = moments_of(raw, m, v);
  return Adam(stepped(old, now.m, now.v), now.m, now.v);
}
