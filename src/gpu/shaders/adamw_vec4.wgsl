// AdamW (lib/adamw) of f32 values, four a thread; in mixed precision the f16 copy of a matrix too.   value, grad, m, v flat [E] in fours.
// #use lib/grid
alias Vec = vec4f;
// #use lib/adamw
// #use lib/copy_none
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  if (step_state[2] != 0.0) { return; }
  let t = linear_group(group, groups) * WG + local;
  if (t >= args.E / 4u) { return; }
  let to = adam(value[t], grad[t], m[t], v[t]);
  m[t] = to.m;
  v[t] = to.v;
  value[t] = to.value;
  copy(t, to.value);
}
