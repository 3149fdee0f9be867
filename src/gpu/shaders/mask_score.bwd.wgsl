// dweight[layer,d] += sum_s dh[s,layer] (gain x[s,d] + shift), dgain[d] += weight sum_s dh x, dshift[d] += weight sum_s dh.
// x [S,D], dh [S,L], weight, dweight [L,D], gain, shift, dgain, dshift [D].   One thread per column.
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let d = linear_group(group, groups) * WG + local;
  if (d >= args.D) { return; }
  var along = 0.0;
  var sum = 0.0;
  for (var s = 0u; s < args.S; s++) {
    let g = dh[s * args.L + args.layer];
    along += g * x[s * args.D + d];
    sum += g;
  }
  let at = args.layer * args.D + d;
  dweight[at] += gain[d] * along + shift[d] * sum;
  dgain[d] += weight[at] * along;
  dshift[d] += weight[at] * sum;
}
