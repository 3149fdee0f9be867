// partial[b, d] = sum over rows b*ROWS .. of term(n, d) * times(n), term at n * width + d, all of them loaded before the first addition.   [N, D] and [B, D] as Vec (four elements or one).
// One thread per block of rows and Vec.
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let i = linear_group(group, groups) * WG + local;
  let width = args.D / WIDTH;
  let first = i / width * ROWS;
  let at = first * width + i % width;
  if (first >= args.N) { return; }
  // #for r ROWS
  var t$r = Vec();
  var s$r = 0.0;
  if (first + $ru < args.N) {
    t$r = term(first + $ru, at + $ru * width);
    s$r = times(first + $ru);
  }
  // #end
  var sum = Vec();
  // #for r ROWS
  sum = fma(t$r, Vec(s$r), sum);
  // #end
  partial[i] = sum;
}
