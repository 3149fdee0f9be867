// Thread (tx, ty) of the tiled f32 kernels makes scores of RM rows with keys tx, tx + NT, tx + 2 NT and tx + 3 NT of a block, kept as a vec4 at [row][tx] of a square in
// workgroup memory, and sums of those rows in columns tx, tx + NT, … of vec4s.
fn mad(a: vec4f, b: vec4f, c: f32) -> f32 { return c + a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w; }
fn score4(x: vec4f) -> vec4f { return vec4f(score(x.x), score(x.y), score(x.z), score(x.w)); }
fn score_slope4(s: vec4f) -> vec4f { return vec4f(score_slope(s.x), score_slope(s.y), score_slope(s.z), score_slope(s.w)); }
fn columns(tx: u32) -> vec4<u32> { return vec4<u32>(tx) + NT * vec4<u32>(0u, 1u, 2u, 3u); }
