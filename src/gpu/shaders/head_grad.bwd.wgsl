// The tile [S,Y] becomes df of its logits (lib/head_grad).   state [S,4], labels [S], seq_of [S], coef [Q,2] (c, k).   One thread per element of the tile.
// #use lib/grid
// #use lib/head_grad
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  if (t >= args.S * args.count) { return; }
  let s = t / args.count;
  let v = t % args.count;
  tile[s * args.Y + v] = logit_gradient(s, v, logit(s, v));
}
