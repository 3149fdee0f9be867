// 32 random bits of a counter (murmur3's finaliser). Twin: mix32 in test/reference/small_ops.ts.
fn mix32(z0: u32) -> u32 {
  var z = z0;
  z = (z ^ (z >> 16u)) * 0x85ebca6bu;
  z = (z ^ (z >> 13u)) * 0xc2b2ae35u;
  return z ^ (z >> 16u);
}
