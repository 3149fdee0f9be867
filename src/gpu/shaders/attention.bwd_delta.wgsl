// delta[n,h] = sum_c o dout: what softmax's backward subtracts.   o, dout [N, H*C], delta [N, H].   One thread per (row, head).
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  if (t >= args.N * H) { return; }
  var sum = 0.0;
  for (var e = 0u; e < E; e++) { sum += inner(o[t * E + e], dout[t * E + e]); }
  delta[t] = sum;
}
