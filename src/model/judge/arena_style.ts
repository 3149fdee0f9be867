import { InputError } from '../../errors.js';
import type { AnswerStyle } from './answers.js';
import type { ArenaBattles } from './arena_hard.js';
import { fitLogistic, sigmoid } from './glm.js';
import { bootstrap, mean, standardDeviation } from './statistics.js';

const FEATURES = ['tokens', 'headers', 'lists', 'bold'] as const;

export interface StyleControlled {
  /** Share of wins against the baseline at equal style. */
  score: number;
  low: number;
  high: number;
  /** Coefficient of each standardised difference. */
  coefficients: Record<(typeof FEATURES)[number], number>;
}

/**
 * Differences of style, before standardising: (t - t') / (t + t') of the tokens; of headers, list items and bold words per token,
 * (d - d') / (d + d' + 1) (lmarena/arena-hard-auto, show_result.py). [4]
 */
export function styleDifference(model: AnswerStyle, baseline: AnswerStyle): number[] {
  return FEATURES.map((f) => {
    if (f === 'tokens') return (model.tokens - baseline.tokens) / (model.tokens + baseline.tokens);
    const [a, b] = [model[f] / model.tokens, baseline[f] / baseline.tokens];
    return (a - b) / (a + b + 1);
  });
}

/**
 * Arena-Hard v2's style control for one model: a Bradley-Terry fit with the four differences as covariates, standardised over the weighted games of this
 * model (upstream standardises over all models of its leaderboard). The score is the fit on all games; upstream prints the median of the rounds.
 * @param styles answer styles by question, of the model and of the baseline
 */
export function styleControlled(
  battles: ArenaBattles['battles'],
  model: Map<string, AnswerStyle>,
  baseline: Map<string, AnswerStyle>,
  options: { rounds?: number; seed?: number } = {},
): StyleControlled {
  // A strong verdict stands for three games, in the standardisation and in the draws.
  const games = battles.flatMap((b) => Array.from({ length: b.weight }, () => b));
  const missing = games.find((b) => !model.has(b.question) || !baseline.has(b.question));
  if (missing)
    throw new InputError(
      `style control: question ${missing.question} has no style metadata on both sides`,
      'both answer files need metadata {token_len, header_count, list_count, bold_count}',
    );
  const raw = games.map((b) => styleDifference(model.get(b.question)!, baseline.get(b.question)!));
  const bad = raw.findIndex((r) => !r.every(Number.isFinite));
  if (bad >= 0)
    throw new InputError(`style control: question ${games[bad]!.question} has style metadata that are no numbers, or an answer of 0 tokens`);
  const d = FEATURES.length + 1;
  const x = new Float64Array(games.length * d);
  for (let i = 0; i < games.length; i++) x[i * d] = 1;
  FEATURES.forEach((_, f) => {
    const column = raw.map((r) => r[f]!);
    const [centre, scale] = [mean(column), standardDeviation(column)];
    // A feature without any spread tells nothing; its column stays 0.
    column.forEach((v, i) => (x[i * d + f + 1] = scale > 0 ? (v - centre) / scale : 0));
  });
  const p = Float64Array.from(games, (b) => b.share);
  const beta = fitLogistic({ d, x, p });
  const { low, high } = bootstrap(
    games.length,
    (sample) => {
      const w = new Float64Array(games.length);
      for (const i of sample) w[i]!++;
      return fitLogistic({ d, x, p, w })[0]!;
    },
    { rounds: 100, level: 0.9, ...options },
  );
  return {
    score: sigmoid(beta[0]!),
    low: sigmoid(low),
    high: sigmoid(high),
    coefficients: Object.fromEntries(FEATURES.map((f, i) => [f, beta[i + 1]!])) as StyleControlled['coefficients'],
  };
}
