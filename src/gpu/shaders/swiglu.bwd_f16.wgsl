// swiglu.bwd straight into two operands of matmul.matrix: dgate = dh * up * act'(gate) under `slot`, dup = dh * act(gate) under `slot_up`; neither is stored in f32.
// gate, up, dh [M, I] in fours. One thread per RUN vec4s of each; with MEASURE their magnitudes alone are watched.
// #use lib/grid
// #use lib/packed_rows
// #use lib/gate
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  var peak_gate = 0u;
  var peak_up = 0u;
  for (var r = 0u; r < RUN; r++) {
    let t = (linear_group(group, groups) * RUN + r) * WG + local;
    let row = t / args.W;
    let c = t % args.W;
    // #for i 2
    var dg$i = vec4f();
    var du$i = vec4f();
    if (row < args.M && c * 8u + 4u * $iu < args.I) {
      let e = (row * args.I + c * 8u) / 4u + $iu;
      let g = gate[e];
      let d = dh[e];
      dg$i = d * up[e] * gate_slope4(g);
      du$i = d * gate_value4(g);
    }
    // #end
    peak_gate = max(peak_gate, max(magnitude4(dg0), magnitude4(dg1)));
    peak_up = max(peak_up, max(magnitude4(du0), magnitude4(du1)));
    if (MEASURE == 0u && row < packed_rows()) {
      packed_gate[packed_at(row, c)] = packed8(dg0, dg1, scales[args.slot]);
      packed_up[packed_at(row, c)] = packed8(du0, du1, scales[args.slot_up]);
    }
  }
  watch(peak_gate);
  watch_at(args.slot_up, peak_up);
}
