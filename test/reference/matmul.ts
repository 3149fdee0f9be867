/** f64 twins: C = add + A·Bᵀ [M,O]; A·B; Aᵀ·B. */
export function nt(x: ArrayLike<number>, w: ArrayLike<number>, M: number, I: number, O: number): Float64Array {
  const y = new Float64Array(M * O);
  for (let m = 0; m < M; m++) for (let o = 0; o < O; o++) {
    let sum = 0;
    for (let i = 0; i < I; i++) sum += x[m * I + i]! * w[o * I + i]!;
    y[m * O + o] = sum;
  }
  return y;
}
export function nn(x: ArrayLike<number>, w: ArrayLike<number>, M: number, O: number, I: number): Float64Array {
  const y = new Float64Array(M * I);
  for (let m = 0; m < M; m++) for (let i = 0; i < I; i++) {
    let sum = 0;
    for (let o = 0; o < O; o++) sum += x[m * O + o]! * w[o * I + i]!;
    y[m * I + i] = sum;
  }
  return y;
}
export function tn(a: ArrayLike<number>, b: ArrayLike<number>, M: number, O: number, I: number): Float64Array {
  const y = new Float64Array(O * I);
  for (let o = 0; o < O; o++) for (let i = 0; i < I; i++) {
    let sum = 0;
    for (let m = 0; m < M; m++) sum += a[m * O + o]! * b[m * I + i]!;
    y[o * I + i] = sum;
  }
  return y;
}
