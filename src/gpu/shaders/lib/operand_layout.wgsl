// Where a packed operand keeps its vec4s of eight elements.   Blocks of 8 rows x BLOCK columns, one behind the other along the columns: the loads of a subgroup are whole
// cache lines, whichever way a product cuts its tiles. Rows of a block stand as 0 2 4 6 1 3 5 7: what eight lanes of 16 bytes put into workgroup memory at once
// (rows of an odd number of vec4s there) then meets 32 different banks.
fn block_row(place: u32) -> u32 { return place % 4u * 2u + place / 4u; }
// Columns 8 c ... 8 c + 7 of a row, in an operand of W vec4s a row.
fn operand_at(row: u32, c: u32, W: u32) -> u32 {
  let across = BLOCK / 8u;
  return (row / 8u * (W / across) + c / across) * BLOCK + (row % 2u * 4u + row % 8u / 2u) * across + c % across;
}
