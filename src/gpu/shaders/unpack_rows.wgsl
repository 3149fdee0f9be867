// x[n,2j], x[n,2j+1] = the pair y[n,j] as f32 (`pair`).   y [N, J], x [N, I].   One thread per word.
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  if (t >= args.N * args.J) { return; }
  let n = t / args.J;
  let i = 2u * (t % args.J);
  let both = pair(y[t], n);
  x[n * args.I + i] = both.x;
  if (i + 1u < args.I) { x[n * args.I + i + 1u] = both.y; }
}
