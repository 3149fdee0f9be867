/** f64 twins of the ops of an encoder. */

/** erf to about 1e-15: Taylor's series below 3, the continued fraction of erfc above. */
export function erf(x: number): number {
  const a = Math.abs(x);
  if (a > 6) return Math.sign(x);
  if (a < 3) {
    let term = x;
    let sum = x;
    for (let n = 1; n < 120; n++) {
      term *= (-x * x) / n;
      sum += term / (2 * n + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = a;
  for (let n = 80; n > 0; n--) fraction = a + n / 2 / fraction;
  return Math.sign(x) * (1 - Math.exp(-a * a) / Math.sqrt(Math.PI) / fraction);
}
export const gelu = (x: number): number => 0.5 * x * (1 + erf(x / Math.SQRT2));

/** (z − mean)/sqrt(variance + eps)·gain + bias of z = x + b, row by row. */
export function layerNorm(x: ArrayLike<number>, b: ArrayLike<number> | undefined, gain: ArrayLike<number>, bias: ArrayLike<number>, eps: number): Float64Array {
  const D = gain.length;
  const y = new Float64Array(x.length);
  for (let n = 0; n < x.length / D; n++) {
    const z = Float64Array.from({ length: D }, (_, d) => x[n * D + d]! + (b?.[d] ?? 0));
    const mean = z.reduce((s, v) => s + v, 0) / D;
    const variance = z.reduce((s, v) => s + (v - mean) ** 2, 0) / D;
    for (let d = 0; d < D; d++) y[n * D + d] = ((z[d]! - mean) / Math.sqrt(variance + eps)) * gain[d]! + bias[d]!;
  }
  return y;
}

/** Its backward, without b: dy [N, D] → dx, dgain, dbias (all from zero). */
export function layerNormBackward(x: ArrayLike<number>, gain: ArrayLike<number>, eps: number, dy: ArrayLike<number>): { dx: Float64Array; dgain: Float64Array; dbias: Float64Array } {
  const D = gain.length;
  const [dx, dgain, dbias] = [new Float64Array(x.length), new Float64Array(D), new Float64Array(D)];
  for (let n = 0; n < x.length / D; n++) {
    const row = Float64Array.from({ length: D }, (_, d) => x[n * D + d]!);
    const mean = row.reduce((s, v) => s + v, 0) / D;
    const scale = 1 / Math.sqrt(row.reduce((s, v) => s + (v - mean) ** 2, 0) / D + eps);
    const z = row.map((v) => (v - mean) * scale);
    const g = z.map((_, d) => gain[d]! * dy[n * D + d]!);
    const [plain, inner] = [g.reduce((s, v) => s + v, 0) / D, g.reduce((s, v, d) => s + v * z[d]!, 0) / D];
    for (let d = 0; d < D; d++) {
      dx[n * D + d] = scale * (g[d]! - plain - z[d]! * inner);
      dgain[d]! += dy[n * D + d]! * z[d]!;
      dbias[d]! += dy[n * D + d]!;
    }
  }
  return { dx, dgain, dbias };
}

/** The three terms one by one, the whole softmax at once. `same(i, j)`: are the rows of one sequence; `r(i, j)`: the row of the positions. */
export function disentangledAttention(
  { q, k, v, posKey, posQuery }: Record<'q' | 'k' | 'v' | 'posKey' | 'posQuery', ArrayLike<number>>,
  { N, H, C, scale, same, r }: { N: number; H: number; C: number; scale: number; same: (i: number, j: number) => boolean; r: (i: number, j: number) => number },
): Float64Array {
  const o = new Float64Array(N * H * C);
  const dot = (a: ArrayLike<number>, i: number, b: ArrayLike<number>, j: number, h: number): number => {
    let sum = 0;
    for (let c = 0; c < C; c++) sum += a[(i * H + h) * C + c]! * b[(j * H + h) * C + c]!;
    return sum;
  };
  for (let i = 0; i < N; i++) for (let h = 0; h < H; h++) {
    const keys = Array.from({ length: N }, (_, j) => j).filter((j) => same(i, j));
    const scores = keys.map((j) => scale * (dot(q, i, k, j, h) + dot(q, i, posKey, r(i, j), h) + dot(k, j, posQuery, r(i, j), h)));
    const top = Math.max(...scores);
    const weights = scores.map((s) => Math.exp(s - top));
    const total = weights.reduce((a, b) => a + b, 0);
    keys.forEach((j, n) => {
      for (let c = 0; c < C; c++) o[(i * H + h) * C + c]! += (weights[n]! / total) * v[(j * H + h) * C + c]!;
    });
  }
  return o;
}
