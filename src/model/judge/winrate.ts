/** Outcome of one prompt for the model: 1 win, 0.5 tie, 0 loss; undefined where no verdict is valid. */
export type Outcome = number | undefined;

/** Two games with the sides swapped: a win only where both agree, a loss where both disagree, else a tie. */
export function combine(first: number | undefined, second: number | undefined): Outcome {
  if (first === undefined || second === undefined) return first ?? second;
  const mean = (first + second) / 2;
  return mean === 1 || mean === 0 ? mean : 0.5;
}

export interface WinRate {
  n: number;
  wins: number;
  ties: number;
  losses: number;
  invalid: number;
  /** Wins and half the ties, as a share. */
  win_rate: number;
  /** Standard deviation of the outcomes (n − 1) over √n. */
  standard_error: number;
  /** Wilson's 95 % interval. */
  wilson_low: number;
  wilson_high: number;
  position_consistency: number | null;
}

/** Wilson score interval of a share p of n at z = 1.96. */
export function wilson(p: number, n: number, z = 1.959963984540054): [number, number] {
  if (n === 0) return [0, 1];
  const centre = (p + (z * z) / (2 * n)) / (1 + (z * z) / n);
  const half = (z / (1 + (z * z) / n)) * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n));
  return [Math.max(0, centre - half), Math.min(1, centre + half)];
}

export function winRate(outcomes: Outcome[], consistent: boolean[]): WinRate {
  const valid = outcomes.filter((o): o is number => o !== undefined);
  const n = valid.length;
  const mean = n === 0 ? NaN : valid.reduce((a, b) => a + b, 0) / n;
  const variance = n < 2 ? NaN : valid.reduce((a, b) => a + (b - mean) ** 2, 0) / (n - 1);
  const [low, high] = wilson(mean, n);
  return {
    n, wins: valid.filter((o) => o > 0.5).length, ties: valid.filter((o) => o === 0.5).length, losses: valid.filter((o) => o < 0.5).length, invalid: outcomes.length - n,
    win_rate: mean, standard_error: Math.sqrt(variance / n), wilson_low: low, wilson_high: high,
    position_consistency: consistent.length === 0 ? null : consistent.filter(Boolean).length / consistent.length,
  };
}
