// Where rms_norm.fwd_next puts the second norm: into an operand of matmul.matrix.
// #use lib/packed_lines
fn row_count() -> u32 { return packed_rows(); }
fn rows() -> u32 { return args.M; }
fn beyond(row: u32, lane: u32, lanes: u32) { pack_zeros(row, lane, lanes); }
fn store_next(row: u32, scale: f32, next: f32, lane: u32, lanes: u32) { pack_line(row, scale, next, lane, lanes); }
