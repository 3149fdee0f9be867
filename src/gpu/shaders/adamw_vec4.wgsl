// AdamW (lib/adamw) of f32 values, four at a time; in mixed precision the f16 copy of a matrix too.   value, grad, m, v flat [E] in fours.
// A thread takes PER fours, WG apart, and loads them all before it writes any: a write might change what is read after it, so loads would wait for it.
// #use lib/grid
alias Vec = vec4f;
// #use lib/adamw
// #use lib/copy_none
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  if (step_state[2] != 0.0) { return; }
  let whole = args.E / 4u;
  let first = linear_group(group, groups) * (WG * PER) + local;
  // #for k PER
  let t$k = first + $ku * WG;
  let at$k = min(t$k, whole - 1u);
  let value$k = value[at$k];
  let grad$k = grad[at$k];
  let m$k = m[at$k];
  let v$k = v[at$k];
  // #end
  // #for k PER
  if (t$k < whole) {
    let to = adam(value$k, grad$k, m$k, v$k);
    m[t$k] = to.m;
    v[t$k] = to.v;
    value[t$k] = to.value;
    copy(t$k, to.value);
  }
  // #end
}
