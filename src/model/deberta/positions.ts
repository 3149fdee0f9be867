const f = Math.fround;

/**
 * The log bucket of a distance i − j: itself up to half the buckets, then logarithmic up to maxDistance − 1, where the last bucket ends (He et al.
 * 2021, arXiv 2111.09543). Rounded to f32 after each operation as transformers' make_log_bucket_position is, since ceil sits on the result.
 */
export function logBucket(distance: number, buckets: number, maxDistance: number): number {
  const middle = Math.floor(buckets / 2);
  const far = Math.abs(distance);
  if (far <= middle) return distance;
  const log = (x: number): number => f(Math.log(f(x)));
  const share = f(log(far / middle) / log((maxDistance - 1) / middle));
  return Math.sign(distance) * (Math.ceil(f(share * (middle - 1))) + middle);
}

/**
 * Rows of the relative embeddings [2·buckets] for i − j from −(longest − 1) to longest − 1. Contents look at positions and positions at contents
 * through the same row, since the buckets are odd in the distance.
 */
export function relativeRows(longest: number, buckets: number, maxDistance: number): Uint32Array {
  return Uint32Array.from({ length: 2 * longest - 1 }, (_, n) => Math.min(2 * buckets - 1, Math.max(0, logBucket(n - (longest - 1), buckets, maxDistance) + buckets)));
}
