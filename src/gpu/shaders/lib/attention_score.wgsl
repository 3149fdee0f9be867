// Score of one query with one key from their raw product, and whether the sliding window hides the key.
fn score(product: f32) -> f32 {
  let s = product * args.scale;
  if (args.softCap > 0.0) { return args.softCap * tanh(s / args.softCap); }
  return s;
}
// d score / d product.
fn score_slope(s: f32) -> f32 {
  if (args.softCap > 0.0) { let r = s / args.softCap; return args.scale * (1.0 - r * r); }
  return args.scale;
}
fn hidden_by_window(i: u32, j: u32) -> bool {
  return args.window > 0u && position[i] - position[j] >= args.window;
}
