// AdamW (lib/adamw) of values in any master format.   value, grad, m, v flat [E].   One thread per PER elements.
// #use lib/grid
// #use lib/master_f32
alias Vec = f32;
// #use lib/adamw
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  if (step_state[2] != 0.0) { return; }
  let first = (linear_group(group, groups) * WG + local) * PER;
  for (var t = first; t < min(first + PER, args.E); t++) {
    let to = adam(read_value(t), grad[t], m[t], v[t]);
    m[t] = to.m;
    v[t] = to.v;
    write_value(t, to.value);
  }
}
