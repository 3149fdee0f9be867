// What writing a whole operand of M rows needs beside lib/packed_f16: its rows up to the last tile's edge, and the largest magnitude of four values.
// #use lib/packed_f16
fn packed_rows() -> u32 { return (args.M + TILE - 1u) / TILE * TILE; }
fn magnitude4(v: vec4f) -> u32 { return max(max(magnitude(v.x), magnitude(v.y)), max(magnitude(v.z), magnitude(v.w))); }
