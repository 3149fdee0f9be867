// group_table[slot,:] = a, a_ref, b, b_ref, label, uniform, 0, 0 of each document of a micro-batch; slot = doc_info[t,0].
// seq_stats [Q,12], doc_info [P,4], group_table [G,8]; K sides from the sequence `first` of a document on.   One thread per document.
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  if (t >= args.P) { return; }
  let at = u32(doc_info[t * 4u]) * 8u;
  for (var k = 0u; k < 8u; k++) { group_table[at + k] = 0.0; }
  for (var k = 0u; k < K; k++) {
    let q = t * args.stride + args.first + k;
    group_table[at + 2u * k] = seq_stats[q * 12u];
    group_table[at + 2u * k + 1u] = seq_stats[q * 12u + 1u];
  }
  group_table[at + 4u] = doc_info[t * 4u + 1u];
  group_table[at + 5u] = doc_info[t * 4u + 2u];
}
