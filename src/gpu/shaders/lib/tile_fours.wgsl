// Logits of a row by fours: rows of a tile are whole vec4s, of which the columns before `end` count. Whoever walks a row has AHEAD loads of each lane under way at once:
// one at a time, a GPU's memory waits for its lanes.
const LOW = -3.4e38;
fn within(v: u32, end: u32) -> vec4<bool> { return vec4<u32>(v, v + 1u, v + 2u, v + 3u) < vec4<u32>(end); }
fn low_outside(x: vec4f, v: u32, end: u32) -> vec4f { return select(vec4f(LOW), x, within(v, end)); }
// d = x - m of columns that count; of others so far below m that e^d is 0, or nothing beside the 1 of m itself.
fn below(d: vec4f, v: u32, end: u32) -> vec4f { return select(vec4f(-1e3), d, within(v, end)); }
// Columns v ... v + 3 begin before `end`, or are read where those of `end` are.
fn four_at(v: u32, end: u32) -> u32 { return min(v, end - 1u) / 4u; }
fn max4(x: vec4f) -> f32 { return max(max(x.x, x.y), max(x.z, x.w)); }
fn sum4(x: vec4f) -> f32 { return (x.x + x.y) + (x.z + x.w); }
