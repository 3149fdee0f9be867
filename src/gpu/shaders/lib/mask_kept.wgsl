// Dropout's factor of scored row s and column i inside a learned mask: 0, or 1/(1 - p). By the row's key, so the packing does not matter.
// #use lib/mix32
fn kept(s: u32, i: u32) -> f32 {
  let row = mix32(keys[s] ^ mix32(args.step_key + args.matrix * 0x9e3779b1u));
  let uniform_number = f32(mix32(row + i * 0x9e3779b1u) >> 8u) * 0x1p-24f;
  return select(0.0, 1.0 / (1.0 - args.p), uniform_number >= args.p);
}
