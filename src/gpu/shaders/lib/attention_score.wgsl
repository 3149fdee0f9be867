// Score of one query with one key from their raw product, and whether the sliding window hides the key.
fn score(product: f32) -> f32 {
  let s = product * args.scale;
  if (args.softCap > 0.0) { return args.softCap * tanh(clamp(s / args.softCap, -15.0, 15.0)); }
  return s;
}
// d score / d product.
fn score_slope(s: f32) -> f32 {
  if (args.softCap > 0.0) { let r = s / args.softCap; return args.scale * (1.0 - r * r); }
  return args.scale;
}
// Is a key at position `at` too far behind query row i?
fn hidden_by_window(i: u32, at: u32) -> bool {
  return args.window > 0u && position[i] - at >= args.window;
}
