// df = c (1[v = y] - pi) of scored row s at column v of the tile, pi = e^(f-m)/Z; c carries the token's weight.
// #use lib/soft_cap
fn logit_gradient(s: u32, v: u32, f: f32) -> f32 {
  let c = coef[seq_of[s] * 2u] * weight_c(s);
  let hit = select(0.0, 1.0, labels[s] == args.v0 + v);
  // One fma, so that the kernel that writes an operand has the bits of the one that writes f32.
  let apart = fma(-exp(f - state[s * 4u]), 1.0 / state[s * 4u + 1u], hit);
  return c * apart * soft_cap_slope(f, args.soft_cap);
}
