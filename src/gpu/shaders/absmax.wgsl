// peaks[slot] = max(peaks[slot], |x| of the finite ones), as bits.   x [M, Y], of which I columns count.   One thread per row and 8 columns.
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  let across = (args.I + 7u) / 8u;
  let row = t / across;
  let col = (t % across) * 8u;
  var peak = 0u;
  if (row < args.M) {
    for (var j = col; j < min(col + 8u, args.I); j++) { peak = max(peak, magnitude(x[row * args.Y + j])); }
  }
  watch(peak);
}
