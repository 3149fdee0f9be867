// value -= value lr wd + u lr / max(1, rms(u)): u the scaled gradient (`direction`), rms(u)^2 in total[1].
// value, grad flat [E]; step_state: clip at 1, skip flag at 2.   One thread per PER elements.
// #use lib/grid
// #use lib/master_f32
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  if (step_state[2] != 0.0) { return; }
  let first = (linear_group(group, groups) * WG + local) * PER;
  let rate = args.lr / max(1.0, sqrt(total[1]));
  for (var t = first; t < min(first + PER, args.E); t++) {
    let old = read_value(t);
    write_value(t, old - old * (args.lr * args.weightDecay) - rate * direction(t));
  }
}
