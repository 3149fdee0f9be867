// x[n,:] = before + scale table[id[n] - first,:] for the ids of this piece.   ids [N], table [R,D], x [N,D].   One thread per element.
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  if (t >= args.N * args.D) { return; }
  let id = ids[t / args.D];
  if (id < args.first || id >= args.first + args.R) { return; }
  x[t] = before(t) + args.scale * weight((id - args.first) * args.D + t % args.D);
}
