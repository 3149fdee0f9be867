// scales[slot] from the peak just measured: the largest power of two that keeps it at or under the loss scale.   One thread.
// #use lib/operand_scale
@compute @workgroup_size(1)
fn ENTRY() {
  scales[args.slot] = operand_scale(bitcast<f32>(peaks[args.slot]), loss_scale[0]);
}
