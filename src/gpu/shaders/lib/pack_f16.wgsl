// packed[r,c] = f16(value[r,c] * scale) for r < M, c < I, zero up to the tiles' edges. The shader gives four(row, col), the values at col ... col + 3, 0 from I on.
// One thread per RUN vec4s. Where magnitudes are watched (gradients), the largest finite one goes to peaks[slot] as bits: those of a positive float order as integers;
// with MEASURE that is all that is done. wrote() may note what was written (ops/filled.ts).
// #use lib/grid
// #use lib/packed_rows
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  var peak = 0u;
  for (var r = 0u; r < RUN; r++) {
    let t = (linear_group(group, groups) * RUN + r) * WG + local;
    let row = t / args.W;
    let c = t % args.W;
    var a = vec4f();
    var b = vec4f();
    if (row < args.M) {
      a = four(row, c * 8u);
      b = four(row, c * 8u + 4u);
    }
    peak = max(peak, max(magnitude4(a), magnitude4(b)));
    if (MEASURE == 0u && row < packed_rows()) {
      let x = packed8(a, b, scales[args.slot]);
      packed[packed_at(row, c)] = x;
      wrote(row, c, x);
    }
  }
  watch(peak);
}
