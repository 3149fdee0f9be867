// No copy is kept beside the values.
fn copy(t: u32, x: vec4f) {}
