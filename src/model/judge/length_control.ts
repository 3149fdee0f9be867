import { InputError } from '../../errors.js';
import { fitLogistic, sigmoid, type GlmRows } from './glm.js';
import { bootstrap, mean, standardDeviation, standardError, type Bootstrap, type BootstrapOptions } from './statistics.js';
import type { Outcome } from './winrate.js';

/**
 * What length control starts from, one entry per instruction: the share of a win p (undefined: no valid verdict; the row is not fitted, but its
 * length counts in the scale and it is predicted, as upstream) and both lengths in characters.
 */
export interface LengthData {
  shares: Outcome[];
  lengthBaseline: ArrayLike<number>;
  lengthModel: ArrayLike<number>;
}

/** Coefficients of AlpacaEval's length_controlled_v1: φ of tanh(s), ψ of the instruction's difficulty, θ of the model. */
export interface LengthWeights {
  length: number;
  difficulty: number;
  model: number;
}

export interface LengthControlled {
  /** A share in [0, 1]; null where length cannot be told apart from quality (see `note`). */
  length_controlled_win_rate: number | null;
  /** Standard error of the predictions over the instructions; null in the minimal form, which predicts one number. */
  lc_standard_error: number | null;
  /** Null where nothing could be fitted. */
  weights: LengthWeights | null;
  /** The length-controlled share of each instruction. */
  predictions: Float64Array;
  note?: string;
}

/** tanh of the length difference (baseline - model) in units of its sample standard deviation, not centred; undefined where all differences are one number. */
export function lengthFeature(data: LengthData): Float64Array | undefined {
  const n = data.shares.length;
  if (data.lengthBaseline.length !== n || data.lengthModel.length !== n)
    throw new InputError(`length control: expected ${n} lengths on both sides, got ${data.lengthBaseline.length} and ${data.lengthModel.length}`);
  const delta = Float64Array.from({ length: n }, (_, i) => data.lengthBaseline[i]! - data.lengthModel[i]!);
  if (delta.every((d) => d === 0)) return delta;
  const deviation = standardDeviation(delta);
  return deviation > 0 ? delta.map((d) => Math.tanh(d / deviation)) : undefined;
}

/** Length-controlled win rate from weights: mean over instructions of σ(Δψ γ_i + Δθ), Δ to the baseline’s weights (0: AlpacaEval’s own baseline). */
export function lcFromWeights(
  weights: LengthWeights,
  difficulties: ArrayLike<number>,
  baseline: LengthWeights = { length: 0, difficulty: 0, model: 0 },
): LengthControlled {
  const predictions = Float64Array.from(difficulties, (gamma) =>
    sigmoid((weights.difficulty - baseline.difficulty) * gamma + (weights.model - baseline.model)),
  );
  return { length_controlled_win_rate: mean(predictions), lc_standard_error: standardError(predictions), weights, predictions };
}

/** Feature rows of the instructions that have a verdict: [tanh(s), difficulty?, 1]. */
export function lengthRows(shares: Outcome[], feature: ArrayLike<number>, difficulties?: ArrayLike<number>): GlmRows {
  const valid = shares.flatMap((p, i) => (p === undefined ? [] : [i]));
  const d = difficulties ? 3 : 2;
  const x = new Float64Array(valid.length * d);
  valid.forEach((i, r) => x.set(difficulties ? [feature[i]!, difficulties[i]!, 1] : [feature[i]!, 1], r * d));
  return { d, x, p: Float64Array.from(valid, (i) => shares[i]!) };
}

const inseparable = (why: string): LengthControlled => ({
  length_controlled_win_rate: null,
  lc_standard_error: null,
  weights: null,
  predictions: new Float64Array(),
  note: why,
});

/**
 * Maximum likelihood fit of logit P = φ tanh(s) + ψ γ + θ (Dubois et al., 2024, without the regularising rows), predicted at equal lengths.
 * @param difficulties γ of each instruction, in the order of `data`
 */
export function lcPlain(data: LengthData, difficulties: ArrayLike<number>): LengthControlled {
  if (difficulties.length !== data.shares.length)
    throw new InputError(`length control: expected ${data.shares.length} difficulties, got ${difficulties.length}`);
  const feature = lengthFeature(data);
  if (!feature) return inseparable('every answer differs from its baseline by the same number of characters');
  if (data.shares.every((p) => p === undefined)) return inseparable('no valid verdict');
  const [length, difficulty, model] = fitLogistic(lengthRows(data.shares, feature, difficulties));
  return lcFromWeights({ length: length!, difficulty: difficulty!, model: model! }, difficulties);
}

/**
 * AlpacaEval's length_controlled_minimal, for data without difficulties: logit P = φ tanh(s) + θ, LC = σ(θ).
 * With no difference in length anywhere it is the win rate itself.
 */
export function lcMinimal(data: LengthData): LengthControlled {
  const feature = lengthFeature(data);
  if (!feature) return inseparable('every answer differs from its baseline by the same number of characters');
  if (data.shares.every((p) => p === undefined)) return inseparable('no valid verdict');
  const [length, model] = fitLogistic(lengthRows(data.shares, feature));
  const predictions = new Float64Array(data.shares.length).fill(sigmoid(model!));
  return {
    length_controlled_win_rate: sigmoid(model!),
    lc_standard_error: null,
    weights: { length: length!, difficulty: 0, model: model! },
    predictions,
  };
}

/** Bootstrap interval of `lcMinimal` over prompts: each round draws prompts, scales their lengths anew and refits. 200 rounds by default. */
export function bootstrapLcMinimal(data: LengthData, options: BootstrapOptions = {}): Bootstrap {
  return bootstrap(
    data.shares.length,
    (sample) => {
      const drawn: LengthData = {
        shares: [],
        lengthBaseline: Array.from(sample, (i) => data.lengthBaseline[i]!),
        lengthModel: Array.from(sample, (i) => data.lengthModel[i]!),
      };
      for (const i of sample) drawn.shares.push(data.shares[i]);
      return lcMinimal(drawn).length_controlled_win_rate ?? NaN;
    },
    { rounds: 200, ...options },
  );
}

/**
 * Whether length control moved the win rate so far that upstream warns (glm_winrate.py, get_is_extreme_changes): by more than 10 points and by
 * more than a quarter of the way to 0 or to 100. Both arguments are shares.
 */
export function extremeChange(winRate: number, lengthControlled: number): boolean {
  const low = Math.min(winRate - winRate / 4, winRate - 0.1);
  const high = Math.max(winRate + (1 - winRate) / 4, winRate + 0.1);
  return lengthControlled < low || lengthControlled > high;
}
