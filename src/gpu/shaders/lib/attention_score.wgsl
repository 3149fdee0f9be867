// Score of one query with one key from their raw product.
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
