// Trained values as pairs of bf16, the first in the low half; a thread owns both of a pair. Written with stochastic rounding: up with the
// probability of the part cut off, by 16 random bits of (step_key, tensor, i) alone, so that the mean is the exact value.
// #use lib/finite
// #use lib/mix32
const PER = 2u;
fn read_value(i: u32) -> f32 {
  let word = value[i / 2u];
  return bitcast<f32>(select(word << 16u, word & 0xffff0000u, (i & 1u) == 1u));
}
fn write_value(i: u32, x: f32) {
  let random = mix32(mix32(args.step_key ^ mix32(args.tensor)) + i * 0x9e3779b1u) & 0xffffu;
  let bits = bitcast<u32>(x);
  let half = select(bits, bits + random, is_finite(x)) >> 16u;
  let word = value[i / 2u];
  value[i / 2u] = select((word & 0xffff0000u) | half, (word & 0xffffu) | (half << 16u), (i & 1u) == 1u);
}
