/** 32-bit mix of a counter (splitmix-style finaliser, murmur3 constants). */
function mix(z: number): number {
  z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
  z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
  return (z ^ (z >>> 16)) >>> 0;
}

/** A uniform number in [0, 1) from integer keys alone: no state, so nothing to save and nothing that drifts. */
export function keyedUniform(...keys: number[]): number {
  let h = 0x9e3779b9;
  for (const key of keys) h = mix((h + Math.imul(key >>> 0, 0x9e3779b1) + (Math.floor(key / 4294967296) | 0)) >>> 0) + 0x7f4a7c15;
  const high = mix(h >>> 0);
  const low = mix((high ^ 0x5bd1e995) >>> 0);
  return (high * 2 ** 21 + (low >>> 11)) / 2 ** 53;
}

/** 32 random bits from integer keys alone. */
export const keyedWord = (...keys: number[]): number => Math.floor(keyedUniform(...keys) * 4294967296);

/** Order of n documents in an epoch, from (seed, epoch) alone; the natural order without `shuffle`. */
export function epochOrder(n: number, seed: number, epoch: number, shuffle = true): Uint32Array {
  const order = Uint32Array.from({ length: n }, (_, i) => i);
  if (!shuffle) return order;
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor(keyedUniform(seed, epoch, i) * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}
