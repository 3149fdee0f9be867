import { InputError } from '../../errors.js';
import { keyedUniform } from '../data/order.js';

/** Mean of the values; NaN of none. */
export function mean(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]!;
  return sum / values.length;
}

/** Sample standard deviation (n - 1); NaN of fewer than two values. */
export function standardDeviation(values: ArrayLike<number>): number {
  const centre = mean(values);
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += (values[i]! - centre) ** 2;
  return values.length < 2 ? NaN : Math.sqrt(sum / (values.length - 1));
}

/** Standard error of the mean: sample standard deviation over √n. */
export const standardError = (values: ArrayLike<number>): number => standardDeviation(values) / Math.sqrt(values.length);

/** Length of an answer in characters, as AlpacaEval counts: Unicode code points, not UTF-16 units. */
export function characters(text: string): number {
  let n = 0;
  for (const _ of text) n++;
  return n;
}

/** Quantile q in [0, 1] with linear interpolation between order statistics (numpy's default, Hyndman and Fan's type 7). */
export function quantile(values: ArrayLike<number>, q: number): number {
  const sorted = Float64Array.from(values).sort();
  if (sorted.length === 0) return NaN;
  const at = q * (sorted.length - 1);
  const low = Math.floor(at);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low]! + (at - low) * (sorted[high]! - sorted[low]!);
}

export interface Bootstrap {
  /** The statistic of each round, in the order drawn. */
  values: Float64Array;
  low: number;
  high: number;
  rounds: number;
  seed: number;
  /** Rounds whose statistic was not finite; they take no part in the interval. */
  undefined_rounds: number;
}

export interface BootstrapOptions {
  /** 1,000 by default. */
  rounds?: number;
  /** 0 by default. */
  seed?: number;
  /** Probability inside the interval, 0.95 by default. */
  level?: number;
}

/**
 * Percentile bootstrap (Efron, 1979) over n units: prompts, never single games of one prompt. Round r draws n units with replacement by a
 * counter-based generator keyed by (seed, r, i): the same numbers everywhere.
 * @param statistic value of a sample, given the drawn units' indices (a buffer that the next round overwrites)
 */
export function bootstrap(n: number, statistic: (sample: Uint32Array) => number, options: BootstrapOptions = {}): Bootstrap {
  const { rounds = 1000, seed = 0, level = 0.95 } = options;
  if (!Number.isInteger(rounds) || rounds < 1) throw new InputError(`bootstrap rounds: expected a whole number of at least 1, got ${rounds}`);
  const sample = new Uint32Array(n);
  const values = new Float64Array(rounds);
  for (let r = 0; r < rounds; r++) {
    for (let i = 0; i < n; i++) sample[i] = Math.floor(keyedUniform(seed, r, i) * n);
    values[r] = n === 0 ? NaN : statistic(sample);
  }
  const finite = values.filter(Number.isFinite);
  return {
    values,
    low: quantile(finite, (1 - level) / 2),
    high: quantile(finite, (1 + level) / 2),
    rounds,
    seed,
    undefined_rounds: rounds - finite.length,
  };
}

/** Bootstrap interval of the mean of one value per prompt. */
export const bootstrapMean = (values: ArrayLike<number>, options: BootstrapOptions = {}): Bootstrap =>
  bootstrap(
    values.length,
    (sample) => {
      let sum = 0;
      for (const i of sample) sum += values[i]!;
      return sum / sample.length;
    },
    options,
  );
