// A method's state is settled once per optimiser step: kept (16..23 <- 0..7), or after a skipped one put back (0..7 <- 16..23).
// method_state [24], step_state [16]: skip flag at 2.   One thread.
@compute @workgroup_size(1)
fn ENTRY() {
  for (var k = 0u; k < 8u; k++) {
    if (step_state[2] != 0.0) { method_state[k] = method_state[16u + k]; } else { method_state[16u + k] = method_state[k]; }
  }
}
