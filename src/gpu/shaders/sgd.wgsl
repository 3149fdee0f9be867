// torch.optim.SGD without dampening: d = g + wd p; buf = momentum buf + d; p -= lr buf, gradient times the clip coefficient.
// value, grad (and buf) flat [E]; step_state: clip at 1, skip flag at 2.   One thread per PER elements.
// #use lib/grid
// #use lib/master_f32
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  if (step_state[2] != 0.0) { return; }
  let first = (linear_group(group, groups) * WG + local) * PER;
  for (var t = first; t < min(first + PER, args.E); t++) {
    let old = read_value(t);
    let d = fma(args.weightDecay, old, grad[t] * step_state[1]);
    write_value(t, old - args.lr * direction(t, d));
  }
}
