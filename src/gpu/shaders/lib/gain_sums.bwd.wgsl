// Sums of the gain's gradient over a subgroup's ROWS rows, a line of workgroup memory for each of the at most SUBGROUPS of a workgroup. A lane touches its own columns only, so nothing waits.
var<workgroup> gain_sums: array<Vec, GAIN_SUMS>;
fn gain_sum(at: u32, v: Vec, scale: f32, first: bool) {
  if (first) { gain_sums[at] = v * scale; } else { gain_sums[at] = fma(v, Vec(scale), gain_sums[at]); }
}
fn keep_gain_sums(block: u32, slot: u32, lane: u32, lanes: u32) {
  let width = args.D / WIDTH;
  for (var d = lane; d < width; d += lanes) { partial[block * width + d] = gain_sums[slot * width + d]; }
}
