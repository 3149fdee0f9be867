// One pass of a method's statistics over its group, whose body `group_pass_body(i, n)` stands in the loss's file.
// group_table [G,8], group_own [G,4], method_state [24]: state 0..7, shared 8..15.   ONCE: one thread in all, in the table's order; else one per document.
// #use lib/grid
// #use lib/log1p
// #use lib/expm1
fn a_of(i: u32) -> f32 { return group_table[i * 8u]; }
fn a_ref_of(i: u32) -> f32 { return group_table[i * 8u + 1u]; }
fn b_of(i: u32) -> f32 { return group_table[i * 8u + 2u]; }
fn b_ref_of(i: u32) -> f32 { return group_table[i * 8u + 3u]; }
fn desirable_of(i: u32) -> f32 { return group_table[i * 8u + 4u]; }
fn uniform_of(i: u32) -> f32 { return group_table[i * 8u + 5u]; }
fn own(i: u32, k: u32) -> f32 { return group_own[i * 4u + k]; }
fn set_own(i: u32, k: u32, x: f32) { group_own[i * 4u + k] = x; }
fn state(k: u32) -> f32 { return method_state[k]; }
fn set_state(k: u32, x: f32) { method_state[k] = x; }
fn shared_of(k: u32) -> f32 { return method_state[8u + k]; }
fn set_shared(k: u32, x: f32) { method_state[8u + k] = x; }
fn beta() -> f32 { return beta_state[0]; }
@compute @workgroup_size(WG)
fn ENTRY(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = linear_group(group, groups) * WG + local;
  if (t >= select(args.G, 1u, ONCE == 1u)) { return; }
  group_pass_body(t, args.G);
}
