import { bootstrapMean, mean, standardError, type Bootstrap, type BootstrapOptions } from './statistics.js';
import type { Outcome } from './winrate.js';

/**
 * Share of a win in an AlpacaEval preference (1: the baseline's output_1 is better, 2: the model's output_2, between: the judge's probability).
 * 0 is an old mark for a draw and reads as 1.5; null, NaN and anything outside [1, 2] is no preference and counts as invalid
 * (tatsu-lab/alpaca_eval, metrics/helpers.py).
 */
export function preferenceShare(preference: number | null | undefined): Outcome {
  if (preference === 0) return 0.5;
  return typeof preference === 'number' && preference >= 1 && preference <= 2 ? preference - 1 : undefined;
}

/** The row of an AlpacaEval leaderboard; rates and errors are shares, not percent. */
export interface AlpacaEvalScore {
  win_rate: number;
  standard_error: number;
  n_wins: number;
  n_wins_base: number;
  n_draws: number;
  n_total: number;
  /** (wins + draws / 2) / total. */
  discrete_win_rate: number;
  /** Rows without a preference; they are dropped from all of the above. */
  n_invalid: number;
  bootstrap: Pick<Bootstrap, 'low' | 'high' | 'rounds' | 'seed'>;
}

/**
 * AlpacaEval's win rate: mean(preference - 1) with the sample standard error (n - 1); a win above one half, a draw at exactly one half.
 * @param preferences one per instruction, see `preferenceShare`
 */
export function alpacaEvalScore(preferences: ArrayLike<number | null | undefined>, options: BootstrapOptions = {}): AlpacaEvalScore {
  const shares = Array.from(preferences, preferenceShare).filter((p): p is number => p !== undefined);
  const wins = shares.filter((p) => p > 0.5).length;
  const draws = shares.filter((p) => p === 0.5).length;
  const { low, high, rounds, seed } = bootstrapMean(shares, options);
  return {
    win_rate: mean(shares),
    standard_error: standardError(shares),
    n_wins: wins,
    n_wins_base: shares.length - wins - draws,
    n_draws: draws,
    n_total: shares.length,
    discrete_win_rate: (wins + draws / 2) / shares.length,
    n_invalid: preferences.length - shares.length,
    bootstrap: { low, high, rounds, seed },
  };
}

/**
 * Preference of AlpacaEval's one-token judge from the log-probabilities of its two labels: 2 - p(m) with p(m) = e^lm / (e^lm + e^lM), `m` naming
 * output_1. A label that is not among the returned tokens has probability 0; without both there is no preference.
 * @param baseline log-probability of output_1's label, undefined where it was not returned
 */
export function logprobPreference(baseline: number | undefined, model: number | undefined): number | undefined {
  if (baseline === undefined && model === undefined) return undefined;
  if (baseline === undefined) return 2;
  if (model === undefined) return 1;
  return 1 + 1 / (1 + Math.exp(baseline - model));
}

/** AlpacaEval's leaderboard.csv (percent) for one model. `average_length`: mean characters of the model's outputs, cut to a whole number as upstream does. */
export function leaderboardCsv(
  name: string,
  score: AlpacaEvalScore,
  averageLength: number,
  lc?: { length_controlled_win_rate: number | null; lc_standard_error?: number | null },
): string {
  const percent = (share: number | null | undefined): string =>
    share === null || share === undefined || Number.isNaN(share) ? '' : String(100 * share);
  const columns: Array<[string, string]> = [
    ['', /[",\n]/.test(name) ? `"${name.replaceAll('"', '""')}"` : name],
    ['win_rate', percent(score.win_rate)],
    ['standard_error', percent(score.standard_error)],
    ['n_wins', String(score.n_wins)],
    ['n_wins_base', String(score.n_wins_base)],
    ['n_draws', String(score.n_draws)],
    ['n_total', String(score.n_total)],
    ['discrete_win_rate', percent(score.discrete_win_rate)],
    ['mode', 'community'],
    ['avg_length', String(Math.floor(averageLength))],
    ['length_controlled_winrate', percent(lc?.length_controlled_win_rate)],
    ['lc_standard_error', percent(lc?.lc_standard_error)],
  ];
  return `${columns.map((c) => c[0]).join(',')}\n${columns.map((c) => c[1]).join(',')}\n`;
}
