// Tiles of logits are not kept: the backward pass makes them again.
fn keep(row: u32, v: u32, d: vec4f) {}
fn keep_top(row: u32, b: u32, top: f32) {}
