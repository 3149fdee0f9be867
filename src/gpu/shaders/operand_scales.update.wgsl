// After an optimiser step, per gradient slot: running <- max(peak, decay * running) (peak alone after a skip, if it was larger), scale from it, peak <- 0.
// The loss scale halves at a step that was skipped and doubles after `patience` clean ones, up to its top.   step_state: skip flag at 2. loss_scale: 0 the
// scale, 1 clean steps in a row. One workgroup: the first thread moves the loss scale, then all of them their slots.
// #use lib/operand_scale
var<workgroup> top: f32;
@compute @workgroup_size(WG)
fn ENTRY(@builtin(local_invocation_index) local: u32) {
  let skipped = step_state[2] != 0.0;
  if (local == 0u) {
    var s = loss_scale[0];
    var clean = select(loss_scale[1] + 1.0, 0.0, skipped);
    if (skipped) { s = max(s * 0.5, F_LOWEST); }
    if (clean >= F_PATIENCE) {
      s = min(s * 2.0, F_HIGHEST);
      clean = 0.0;
    }
    loss_scale[0] = s;
    loss_scale[1] = clean;
    top = s;
  }
  workgroupBarrier();
  for (var slot = args.first + local; slot < args.K; slot += WG) {
    let peak = bitcast<f32>(peaks[slot]);
    let next = max(peak, running[slot] * select(F_DECAY, 1.0, skipped));
    running[slot] = next;
    scales[slot] = operand_scale(next, top);
    peaks[slot] = 0u;
  }
}
