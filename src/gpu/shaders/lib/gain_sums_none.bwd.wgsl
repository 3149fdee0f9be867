// lib/gain_sums.bwd where the gain is frozen, or its gradient is made by a kernel of its own.
fn gain_sum(at: u32, v: Vec, scale: f32, first: bool) { }
fn keep_gain_sums(block: u32, slot: u32, lane: u32, lanes: u32) { }
