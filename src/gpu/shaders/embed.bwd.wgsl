// dtable[id - first,:] += sum over the rows that hold id, in order, of scale dx.   unique_ids [U] rising, unique_offsets [U+1],
// rows [N], dx [N,D], dtable [R,D].   One thread per (id, column): no two threads add to one place.
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  if (t >= args.U * args.D) { return; }
  let u = t / args.D;
  let d = t % args.D;
  let id = unique_ids[u];
  if (id < args.first || id >= args.first + args.R) { return; }
  var sum = 0.0;
  for (var i = unique_offsets[u]; i < unique_offsets[u + 1u]; i++) { sum += dx[rows[i] * args.D + d]; }
  let at = (id - args.first) * args.D + d;
  dtable[at] = dtable[at] + args.scale * sum;
}
