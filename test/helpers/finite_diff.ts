/**
 * Central differences in f64 of a scalar function of one vector, by Richardson's extrapolation of two steps:
 * error O(h^4), so that an analytic f64 gradient can be held to about 1e-8 relative.
 */
export function finiteDifference(f: (x: Float64Array) => number, x: ArrayLike<number>, h = 1e-3): Float64Array {
  const at = Float64Array.from(x);
  const gradient = new Float64Array(at.length);
  for (let i = 0; i < at.length; i++) {
    const keep = at[i]!;
    const step = h * Math.max(1, Math.abs(keep));
    const slope = (d: number): number => {
      at[i] = keep + d;
      const up = f(at);
      at[i] = keep - d;
      const down = f(at);
      at[i] = keep;
      return (up - down) / (2 * d);
    };
    gradient[i] = (4 * slope(step / 2) - slope(step)) / 3;
  }
  return gradient;
}

/** Σ w·y: turns a vector-valued op into the scalar whose gradient its backward computes with dy = w. */
export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}
