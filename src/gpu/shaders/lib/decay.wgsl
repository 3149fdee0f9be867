// Adafactor's weight of what is new, 1 - beta2_t = t^-0.8 (Shazeer & Stern 2018, section 7.2); 1 at t = 1.
fn share_of_new() -> f32 { return exp2(-0.8 * log2(step_state[3])); }
