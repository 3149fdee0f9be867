import { InputError } from '../../errors.js';
import { derivatives, deviance, linear, sigmoid, type GlmRows } from './glm.js';
import { lcFromWeights, lcPlain, lengthFeature, lengthRows, type LengthControlled, type LengthData } from './length_control.js';

/** Rows of AlpacaEval's df_gamed.csv: the baseline made concise and verbose, judged against itself. All arrays have one entry a row. */
export interface GamedRows {
  /** Share of a win in [0, 1]. */
  preference: ArrayLike<number>;
  /** Length difference, scaled already. */
  stdDeltaLength: ArrayLike<number>;
  difficulty: ArrayLike<number>;
}

/** λ of the two gamed baselines together; each row weighs λ/2. */
export const GAMED_LAMBDA = 0.2;
/** scikit-learn's ten log-spaced inverse strengths, 1e-4 to 1e4. */
export const STRENGTHS = Array.from({ length: 10 }, (_, i) => 10 ** (-4 + (8 * i) / 9));

/**
 * L1-regularised logistic regression: the minimum of ‖β‖₁ + C Σ w (log-loss of soft targets), liblinear's objective, by proximal Newton with
 * coordinate descent (Yuan, Ho and Lin, 2012), run to rounding where liblinear stops at 1e-4.
 * @returns β [d]
 */
export function fitL1(rows: GlmRows, c: number): Float64Array {
  const { d } = rows;
  const norm = (beta: Float64Array): number => beta.reduce((a, b) => a + Math.abs(b), 0);
  let beta = new Float64Array(d);
  let z = linear(rows, beta);
  let value = c * deviance(rows, z);
  for (let iteration = 0; iteration < 200; iteration++) {
    const { gradient, hessian } = derivatives(rows, z);
    const next = Float64Array.from(beta);
    // Hδ of the quadratic model, kept up to date coordinate by coordinate.
    const h = new Float64Array(d);
    for (let sweep = 0; sweep < 2000; sweep++) {
      let largest = 0;
      for (let j = 0; j < d; j++) {
        const a = c * hessian[j * d + j]! + 1e-12;
        const target = next[j]! - (c * (gradient[j]! + h[j]!)) / a;
        const to = Math.sign(target) * Math.max(0, Math.abs(target) - 1 / a);
        const move = to - next[j]!;
        if (move === 0) continue;
        next[j] = to;
        for (let k = 0; k < d; k++) h[k]! += hessian[k * d + j]! * move;
        largest = Math.max(largest, Math.abs(move) / (1 + Math.abs(to)));
      }
      if (largest <= 1e-14) break;
    }
    let moved = 0;
    for (let scale = 1; scale > 1e-10; scale /= 2) {
      const trial = beta.map((b, j) => b + scale * (next[j]! - b));
      const zTrial = linear(rows, trial);
      const valueTrial = c * deviance(rows, zTrial) + norm(trial);
      if (valueTrial > value + 1e-14 * Math.abs(value)) continue;
      moved = trial.reduce((m, b, j) => Math.max(m, Math.abs(b - beta[j]!) / (1 + Math.abs(b))), 0);
      [beta, z, value] = [trial, zTrial, valueTrial];
      break;
    }
    if (moved <= 1e-12) break;
  }
  return beta;
}

const subset = (rows: GlmRows, keep: (i: number) => boolean): GlmRows => {
  const kept = Array.from(rows.p.keys()).filter(keep);
  const x = new Float64Array(kept.length * rows.d);
  kept.forEach((i, r) => x.set(rows.x.subarray(i * rows.d, (i + 1) * rows.d), r * rows.d));
  return { d: rows.d, x, p: Float64Array.from(kept, (i) => rows.p[i]!), w: Float64Array.from(kept, (i) => rows.w![i]!) };
};

/** Fold of row i of n: GroupKFold deals groups of equal size from the last to the first (its order among equals, stable sort assumed). */
export const foldOf = (i: number, n: number, folds: number): number => (n - 1 - i) % folds;

/** Inverse strength with the least weighted log-loss on the rows left out, a mean over the folds; the smallest of equals. */
export function chooseStrength(rows: GlmRows, folds = 5, strengths: readonly number[] = STRENGTHS): number {
  const n = rows.p.length;
  const losses = strengths.map((c) => {
    let sum = 0;
    for (let f = 0; f < folds; f++) {
      const beta = fitL1(
        subset(rows, (i) => foldOf(i, n, folds) !== f),
        c,
      );
      const left = subset(rows, (i) => foldOf(i, n, folds) === f);
      const z = linear(left, beta);
      let loss = 0;
      for (let i = 0; i < z.length; i++) {
        const q = Math.min(1 - 1e-15, Math.max(1e-15, sigmoid(z[i]!)));
        loss -= left.w![i]! * (left.p[i]! * Math.log(q) + (1 - left.p[i]!) * Math.log(1 - q));
      }
      sum += loss / z.length;
    }
    return sum / folds;
  });
  return strengths[losses.indexOf(Math.min(...losses))]!;
}

/**
 * AlpacaEval's published length_controlled_v1 (metrics/glm_winrate.py; Dubois et al., 2024): the model's rows (weight 1) with the gamed baselines'
 * rows before them (weight λ/2, no θ), an L1 penalty of a strength chosen by 5-fold cross-validation, predicted at equal lengths.
 * Two things can differ from the published digits: liblinear stops early (1e-4 in a coefficient), and numpy's sort orders equal groups by machine.
 */
export function lcFull(data: LengthData, difficulties: ArrayLike<number>, gamed: GamedRows): LengthControlled & { strength: number | null } {
  const n = data.shares.length;
  if (difficulties.length !== n) throw new InputError(`length control: expected ${n} difficulties, got ${difficulties.length}`);
  const feature = lengthFeature(data);
  if (!feature || data.shares.every((p) => p === undefined)) return { ...lcPlain(data, difficulties), strength: null };
  const own = lengthRows(data.shares, feature, difficulties);
  const valid = Array.from(gamed.preference).flatMap((p, i) => (Number.isNaN(p) ? [] : [i]));
  const x = new Float64Array(valid.length * 3 + own.x.length);
  valid.forEach((i, r) => x.set([Math.tanh(gamed.stdDeltaLength[i]!), gamed.difficulty[i]!, 0], r * 3));
  x.set(own.x, valid.length * 3);
  const total = valid.length + own.p.length;
  const rows: GlmRows = {
    d: 3,
    x,
    p: Float64Array.from({ length: total }, (_, i) => (i < valid.length ? gamed.preference[valid[i]!]! : own.p[i - valid.length]!)),
    w: Float64Array.from({ length: total }, (_, i) => (i < valid.length ? GAMED_LAMBDA / 2 : 1)),
  };
  const strength = chooseStrength(rows);
  const [length, difficulty, model] = fitL1(rows, strength);
  return { ...lcFromWeights({ length: length!, difficulty: difficulty!, model: model! }, difficulties), strength };
}
