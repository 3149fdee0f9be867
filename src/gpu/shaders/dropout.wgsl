// y[n,i] = start + x[n,i] / (1 - p) where the uniform number of (step, matrix, row's key, i) is at least p, else start.
// x, y [N,I], keys [N].   One thread per element; integers alone decide, so every adapter drops the same elements.
// #use lib/grid
// #use lib/mix32
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  if (t >= args.N * args.I) { return; }
  let row = mix32(keys[t / args.I] ^ mix32(args.step_key + args.matrix * 0x9e3779b1u));
  let uniform_number = f32(mix32(row + (t % args.I) * 0x9e3779b1u) >> 8u) * 0x1p-24f;
  let kept = select(0.0, x[t] / (1.0 - args.p), uniform_number >= args.p);
  y[t] = start(t) + kept;
}
