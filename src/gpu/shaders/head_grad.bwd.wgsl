// f -> df in place: df = c (1[v = y] - pi), pi = e^(f-m)/Z.   tile [S,Y], state [S,4], labels [S], seq_of [S], coef [Q,2] (c, k); c carries the token's weight.
// One thread per element of the tile.
// #use lib/grid
// #use lib/soft_cap
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  if (t >= args.S * args.count) { return; }
  let s = t / args.count;
  let v = t % args.count;
  let at = s * args.Y + v;
  let c = coef[seq_of[s] * 2u] * weight_c(s);
  var p = exp(tile[at] - state[s * 4u]) / state[s * 4u + 1u];
  let hit = select(0.0, 1.0, labels[s] == args.v0 + v);
  tile[at] = c * (hit - p) * soft_cap_slope(tile[at], args.soft_cap);
}
