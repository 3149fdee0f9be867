/** Rows of a binomial model with a logit link: features x (row-major [n, d]), targets p in [0, 1], weights w >= 0. */
export interface GlmRows {
  d: number;
  x: Float64Array;
  p: Float64Array;
  /** Absent: every row weighs 1. */
  w?: Float64Array;
}

/**
 * Ridge of every plain fit: λ/2 ‖β‖² beside a log-likelihood summed over rows. It moves a determined coefficient by about λβ/information
 * (1e-11 on 800 rows) and keeps β finite where the likelihood has no maximum (all wins: β stops near 30) or a column is 0 (β = 0).
 */
export const GLM_RIDGE = 1e-10;

export const sigmoid = (z: number): number => (z >= 0 ? 1 / (1 + Math.exp(-z)) : Math.exp(z) / (1 + Math.exp(z)));
export const logit = (p: number): number => Math.log(p / (1 - p));
/** ln(1 + e^z) without overflow. */
const softplus = (z: number): number => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z)));

/** Solves the symmetric positive definite [d, d] system a·x = b by Cholesky; undefined where a is not positive definite. */
export function solveSpd(a: Float64Array, b: Float64Array): Float64Array | undefined {
  const d = b.length;
  const l = Float64Array.from(a);
  for (let j = 0; j < d; j++) {
    for (let i = j; i < d; i++) {
      let sum = l[i * d + j]!;
      for (let k = 0; k < j; k++) sum -= l[i * d + k]! * l[j * d + k]!;
      if (i > j) l[i * d + j] = sum / l[j * d + j]!;
      else if (sum > 0) l[j * d + j] = Math.sqrt(sum);
      else return undefined;
    }
  }
  const x = Float64Array.from(b);
  for (let i = 0; i < d; i++) {
    for (let k = 0; k < i; k++) x[i]! -= l[i * d + k]! * x[k]!;
    x[i]! /= l[i * d + i]!;
  }
  for (let i = d - 1; i >= 0; i--) {
    for (let k = i + 1; k < d; k++) x[i]! -= l[k * d + i]! * x[k]!;
    x[i]! /= l[i * d + i]!;
  }
  return x;
}

/** z = xβ, [n]. */
export function linear(rows: GlmRows, beta: ArrayLike<number>): Float64Array {
  const z = new Float64Array(rows.p.length);
  for (let i = 0; i < z.length; i++) for (let j = 0; j < rows.d; j++) z[i]! += rows.x[i * rows.d + j]! * beta[j]!;
  return z;
}

/** Σ w (softplus(z) - p z): minus the log-likelihood of soft targets. */
export function deviance(rows: GlmRows, z: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < z.length; i++) sum += (rows.w?.[i] ?? 1) * (softplus(z[i]!) - rows.p[i]! * z[i]!);
  return sum;
}

/** Gradient [d] and Hessian [d, d] of `deviance`. */
export function derivatives(rows: GlmRows, z: Float64Array): { gradient: Float64Array; hessian: Float64Array } {
  const { d, x, p, w } = rows;
  const gradient = new Float64Array(d);
  const hessian = new Float64Array(d * d);
  for (let i = 0; i < z.length; i++) {
    const weight = w?.[i] ?? 1;
    const mu = sigmoid(z[i]!);
    const residual = weight * (mu - p[i]!);
    const curvature = weight * mu * (1 - mu);
    for (let j = 0; j < d; j++) {
      const xj = x[i * d + j]!;
      gradient[j]! += residual * xj;
      for (let k = 0; k <= j; k++) hessian[j * d + k]! += curvature * xj * x[i * d + k]!;
    }
  }
  for (let j = 0; j < d; j++) for (let k = j + 1; k < d; k++) hessian[j * d + k] = hessian[k * d + j]!;
  return { gradient, hessian };
}

/**
 * Logistic regression on soft targets by iteratively reweighted least squares (Newton's method; McCullagh and Nelder, 2.5) with step halving.
 * No intercept: give a column of ones. Deterministic.
 * @returns β [d]
 */
export function fitLogistic(rows: GlmRows, ridge = GLM_RIDGE): Float64Array {
  const { d } = rows;
  const penalised = (beta: Float64Array, z: Float64Array): number => deviance(rows, z) + (ridge / 2) * beta.reduce((a, b) => a + b * b, 0);
  let beta = new Float64Array(d);
  let z = linear(rows, beta);
  let value = penalised(beta, z);
  for (let iteration = 0; iteration < 200; iteration++) {
    const { gradient, hessian } = derivatives(rows, z);
    for (let j = 0; j < d; j++) {
      gradient[j]! += ridge * beta[j]!;
      hessian[j * d + j]! += ridge;
    }
    const step = solveSpd(hessian, gradient);
    if (!step) break;
    let moved = false;
    for (let scale = 1; scale > 1e-8; scale /= 2) {
      const next = beta.map((b, j) => b - scale * step[j]!);
      const zNext = linear(rows, next);
      const valueNext = penalised(next, zNext);
      // At the minimum rounding alone decides; such a step is taken once and ends the loop below.
      if (valueNext > value + 1e-13 * Math.abs(value)) continue;
      [beta, z, value, moved] = [next, zNext, valueNext, true];
      break;
    }
    if (!moved || step.every((s, j) => Math.abs(s) <= 1e-12 * (1 + Math.abs(beta[j]!)))) break;
  }
  return beta;
}
