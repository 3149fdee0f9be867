import { sigmoid } from '../judge/glm.js';

/** Labelled points: x row-major [n, width], `positive` [n]. */
export interface LabelledPoints {
  width: number;
  x: Float64Array;
  positive: boolean[];
}

/** P(positive | x) = σ(w·x + bias). */
export interface Classifier {
  w: Float64Array;
  bias: number;
}

const softplus = (z: number): number => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z)));
const dot = (a: Float64Array, b: Float64Array): number => {
  let sum = 0;
  for (let j = 0; j < a.length; j++) sum += a[j]! * b[j]!;
  return sum;
};

export function probability({ w, bias }: Classifier, x: ArrayLike<number>): number {
  let z = bias;
  for (let j = 0; j < w.length; j++) z += w[j]! * x[j]!;
  return sigmoid(z);
}

/**
 * Logistic regression as scikit-learn's LogisticRegression(class_weight="balanced") defines it: the minimum of ½ ‖w‖² + Σ s_i softplus(∓(w·x_i + bias)),
 * s_i = n / (2 n_k) for the n_k points of a kind, the bias without a penalty. By Newton's method with step halving; its linear systems by conjugate
 * gradients, so that a step costs n · width and a wide embedding needs no matrix of width².
 */
export function fitClassifier({ width, x, positive }: LabelledPoints): Classifier {
  const n = positive.length;
  const good = positive.filter(Boolean).length;
  const share = positive.map((p) => n / (2 * (p ? good : n - good)));
  // The bias is the last of width + 1 parameters.
  const scores = (theta: Float64Array): Float64Array => Float64Array.from(positive, (_, i) => {
    let z = theta[width]!;
    for (let j = 0, at = i * width; j < width; j++) z += theta[j]! * x[at + j]!;
    return z;
  });
  /** Xᵀr with the penalty's part of `theta`. */
  const back = (r: Float64Array, theta: Float64Array): Float64Array => {
    const out = new Float64Array(width + 1);
    for (let j = 0; j < width; j++) out[j] = theta[j]!;
    for (let i = 0; i < n; i++) {
      const ri = r[i]!;
      for (let j = 0, at = i * width; j < width; j++) out[j]! += ri * x[at + j]!;
      out[width]! += ri;
    }
    return out;
  };
  const value = (theta: Float64Array, z: Float64Array): number => {
    let sum = 0;
    for (let j = 0; j < width; j++) sum += (theta[j]! * theta[j]!) / 2;
    for (let i = 0; i < n; i++) sum += share[i]! * softplus(positive[i] ? -z[i]! : z[i]!);
    return sum;
  };
  let theta: Float64Array = new Float64Array(width + 1);
  let z = scores(theta);
  let now = value(theta, z);
  let first = 0;
  for (let iteration = 0; iteration < 100; iteration++) {
    const mu = z.map(sigmoid);
    const gradient = back(mu.map((m, i) => share[i]! * (m - (positive[i] ? 1 : 0))), theta);
    const size = Math.sqrt(dot(gradient, gradient));
    first ||= size;
    if (size <= 1e-12 * first) break;
    const curvature = mu.map((m, i) => share[i]! * m * (1 - m));
    const step = conjugateGradients((v) => back(scores(v).map((s, i) => s * curvature[i]!), v), gradient, Math.min(0.1, size / first));
    const before = now;
    for (let scale = 1; scale > 1e-8; scale /= 2) {
      const next = theta.map((t, j) => t - scale * step[j]!);
      const zNext = scores(next);
      const valueNext = value(next, zNext);
      if (valueNext > before + 1e-13 * before) continue;
      [theta, z, now] = [next, zNext, valueNext];
      break;
    }
    // At the minimum rounding alone decides; such a step is taken once.
    if (!(now < before)) break;
  }
  return { w: theta.slice(0, width), bias: theta[width]! };
}

/** Solves A v = b for a symmetric positive definite A (Hestenes and Stiefel 1952), to a residual of `tolerance` of b's norm. */
function conjugateGradients(A: (v: Float64Array) => Float64Array, b: Float64Array, tolerance: number): Float64Array {
  const v = new Float64Array(b.length);
  const r = Float64Array.from(b);
  let d = Float64Array.from(b);
  let rr = dot(r, r);
  const enough = rr * tolerance * tolerance;
  for (let k = 0; k < 2 * b.length + 10 && rr > enough; k++) {
    const Ad = A(d);
    const along = rr / dot(d, Ad);
    for (let j = 0; j < v.length; j++) {
      v[j]! += along * d[j]!;
      r[j]! -= along * Ad[j]!;
    }
    const next = dot(r, r);
    d = d.map((x, j) => r[j]! + (next / rr) * x);
    rr = next;
  }
  return v;
}
