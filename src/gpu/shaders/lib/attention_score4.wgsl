// Four at a time: scores, their slopes, numbers as f16, and the columns of vec4 j. A lane's j-th pair of vec4s of a row begins at `quad`: eight numbers, a vec4 of halves.
fn score4(x: vec4f) -> vec4f { return vec4f(score(x.x), score(x.y), score(x.z), score(x.w)); }
fn score_slope4(s: vec4f) -> vec4f { return vec4f(score_slope(s.x), score_slope(s.y), score_slope(s.z), score_slope(s.w)); }
fn halves(x: vec4f) -> vec2<u32> { return bitcast<vec2<u32>>(vec4<f16>(x)); }
fn columns4(j: u32) -> vec4<u32> { return vec4<u32>(4u * j) + vec4<u32>(0u, 1u, 2u, 3u); }
fn quad(j: u32, part: u32) -> u32 { return 2u * (j * LPR + part); }
