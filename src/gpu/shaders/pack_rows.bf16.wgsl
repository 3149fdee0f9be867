// y[n,j] = the pair x[n,2j], x[n,2j+1] as bf16, rounded to nearest even.   x [N, I], y [N, J].   One thread per word.
// #use lib/bf16
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  if (t >= args.N * args.J) { return; }
  let i = 2u * (t % args.J);
  let at = (t / args.J) * args.I + i;
  var high = 0u;
  if (i + 1u < args.I) { high = bitcast<u32>(round_to_bf16(x[at + 1u])) & 0xffff0000u; }
  y[t] = (bitcast<u32>(round_to_bf16(x[at])) >> 16u) | high;
}
