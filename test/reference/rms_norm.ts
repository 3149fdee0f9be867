/** f64 twin of rms_norm: x [N, D], gain [D] → y [N, D], rstd [N]. */
export function rmsNorm(x: ArrayLike<number>, gain: ArrayLike<number>, eps: number): { y: Float64Array; rstd: Float64Array } {
  const D = gain.length;
  const N = x.length / D;
  const y = new Float64Array(N * D);
  const rstd = new Float64Array(N);
  for (let n = 0; n < N; n++) {
    let squares = 0;
    for (let d = 0; d < D; d++) squares += x[n * D + d]! ** 2;
    rstd[n] = 1 / Math.sqrt(squares / D + eps);
    for (let d = 0; d < D; d++) y[n * D + d] = x[n * D + d]! * rstd[n]! * gain[d]!;
  }
  return { y, rstd };
}

/** Its backward: dy [N, D] → dx [N, D], dgain [D] (both from zero). */
export function rmsNormBackward(
  x: ArrayLike<number>,
  gain: ArrayLike<number>,
  eps: number,
  dy: ArrayLike<number>,
): { dx: Float64Array; dgain: Float64Array } {
  const D = gain.length;
  const N = x.length / D;
  const { rstd } = rmsNorm(x, gain, eps);
  const dx = new Float64Array(N * D);
  const dgain = new Float64Array(D);
  for (let n = 0; n < N; n++) {
    let inner = 0;
    for (let d = 0; d < D; d++) inner += gain[d]! * dy[n * D + d]! * x[n * D + d]!;
    const mean = (inner / D) * rstd[n]! ** 2;
    for (let d = 0; d < D; d++) {
      dx[n * D + d] = rstd[n]! * (gain[d]! * dy[n * D + d]! - x[n * D + d]! * mean);
      dgain[d]! += dy[n * D + d]! * x[n * D + d]! * rstd[n]!;
    }
  }
  return { dx, dgain };
}
