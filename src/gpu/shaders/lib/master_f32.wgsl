// Trained values in f32: one element at a time.
const PER = 1u;
fn read_value(i: u32) -> f32 { return value[i]; }
fn write_value(i: u32, x: f32) { value[i] = x; }
