// lib/operand_layout for what attention multiplies: row by row, since its matrices begin at any row.
fn operand_at(row: u32, c: u32, W: u32) -> u32 { return row * W + c; }
