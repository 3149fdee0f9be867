// packed[r,c] = f16(x[r,c] * scale) for r < M, c < I, zero up to the tiles' edges: an operand of matmul.matrix.   x [M, Y], read by weight(); packed [rows, 8 W], eight to
// a vec4<u32>. One thread per vec4. Where magnitudes are watched (gradients), the largest finite one goes to peaks[slot] as bits: those of a
// positive float order as integers.
// #use lib/f16
// #use lib/grid
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  let row = t / args.W;
  let col = (t % args.W) * 8u;
  let s = scales[args.slot];
  var words = vec4<u32>();
  var peak = 0u;
  if (row < args.M) {
    let at = row * args.Y + col;
    for (var j = 0u; j < 8u; j++) {
      if (col + j < args.I) {
        let value = weight(at + j);
        peak = max(peak, magnitude(value));
        words[j / 2u] |= f16_bits(value * s) << (16u * (j % 2u));
      }
    }
  }
  watch(peak);
  if (row < (args.M + TILE - 1u) / TILE * TILE) { packed[t] = words; }
}
