// The tile becomes df: df = c (1[v = y] - pi) + k (pi - rho) (losses.md 0), the second term from KL(ref||policy).
// c and k carry the token's weights. tile, ref_tile [S,Y], state [S,4], criterion [S,8], labels, seq_of [S], coef [Q,2].   One thread per element.
// #use lib/grid
// #use lib/soft_cap
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  if (t >= args.S * args.count) { return; }
  let s = t / args.count;
  let v = t % args.count;
  let q = seq_of[s] * 2u;
  let f = logit(s, v);
  let p = exp(f - state[s * 4u]) / state[s * 4u + 1u];
  let rho = exp(ref_logit(s, v) - criterion[s * 8u + 2u]) / criterion[s * 8u + 3u];
  let hit = select(0.0, 1.0, labels[s] == args.v0 + v);
  tile[s * args.Y + v] = (coef[q] * weight_c(s) * (hit - p) + coef[q + 1u] * weight_k(s) * (p - rho)) * soft_cap_slope(f, args.soft_cap);
}
