import type { MtBenchPair, MtBenchRating } from './judgments.js';
import { mtBenchCategory } from './questions.js';
import { mean, standardError } from './statistics.js';
import { combine, winRate, type WinRate } from './winrate.js';

/** Two single ratings that differ by no more are a tie (lm-sys/FastChat, llm_judge/common.py, TIE_DELTA). */
export const TIE_DELTA = 0.1;

/** Rating in a judge's reply: the first [[n]], else the first [n], as FastChat reads it. Outside 1 to 10, or without one: undefined. */
export function parseRating(reply: string): number | undefined {
  const found = /\[\[(\d+\.?\d*)\]\]/.exec(reply) ?? /\[(\d+\.?\d*)\]/.exec(reply);
  const rating = found ? Number(found[1]) : NaN;
  return rating >= 1 && rating <= 10 ? rating : undefined;
}

/** Pairwise verdict [[A]], [[B]] or [[C]] (a tie). A reply with several different ones is no verdict (FastChat would take the first of A, B, C). */
export function parsePairVerdict(reply: string): 'a' | 'b' | 'tie' | undefined {
  const labels = new Set([...reply.matchAll(/\[\[([ABC])\]\]/g)].map((m) => m[1]!));
  const only = labels.size === 1 ? [...labels][0] : undefined;
  return only === 'A' ? 'a' : only === 'B' ? 'b' : only === 'C' ? 'tie' : undefined;
}

export interface MtBenchMean {
  mean: number;
  standard_error: number;
  n: number;
}

export interface MtBenchScore {
  model: string;
  /** Mean of all ratings of all turns, FastChat's "average". */
  average: MtBenchMean;
  /** Means by turn ("1", "2"). */
  turns: Record<string, MtBenchMean>;
  /** Means by category over both turns. */
  categories: Record<string, MtBenchMean>;
  invalid: number;
}

const summary = (values: number[]): MtBenchMean => ({ mean: mean(values), standard_error: standardError(values), n: values.length });
function grouped(ratings: Array<{ key: string; score: number }>): Record<string, MtBenchMean> {
  const groups = new Map<string, number[]>();
  for (const { key, score } of ratings) groups.set(key, [...(groups.get(key) ?? []), score]);
  return Object.fromEntries([...groups].map(([key, values]) => [key, summary(values)]));
}

/**
 * MT-Bench scores of each model (Zheng et al., 2023; FastChat, show_result.py): means of single ratings, those without a rating left out.
 * @param category of a question; the benchmark's own table by default
 */
export function mtBenchScores(ratings: MtBenchRating[], category: (question: string) => string | undefined = mtBenchCategory): MtBenchScore[] {
  return [...new Set(ratings.map((r) => r.model))].map((model) => {
    const own = ratings.filter((r) => r.model === model);
    const valid = own.filter((r): r is MtBenchRating & { score: number } => r.score !== undefined);
    return {
      model,
      average: summary(valid.map((r) => r.score)),
      turns: grouped(valid.map((r) => ({ key: String(r.turn), score: r.score })).sort((a, b) => a.key.localeCompare(b.key))),
      categories: grouped(
        valid.flatMap((r) => {
          const key = category(r.question);
          return key === undefined ? [] : [{ key, score: r.score }];
        }),
      ),
      invalid: own.length - valid.length,
    };
  });
}

/** The winner of two single ratings of one turn, as MT-Bench's pairwise mode takes it from single gradings. Undefined without both. */
export function compareRatings(model: number | undefined, baseline: number | undefined): number | undefined {
  if (model === undefined || baseline === undefined) return undefined;
  return Math.abs(model - baseline) <= TIE_DELTA ? 0.5 : model > baseline ? 1 : 0;
}

/**
 * Pairwise win rate of a model against a baseline: two games with the sides swapped; a tie unless both name one winner; ties are half wins
 * (FastChat's win_rate_adjusted). A row with a game in error is left out and counted as invalid.
 */
export function mtBenchPairwise(pairs: MtBenchPair[], model: string, baseline: string): WinRate {
  const own = pairs.filter((p) => (p.model_1 === model && p.model_2 === baseline) || (p.model_1 === baseline && p.model_2 === model));
  const share = (winner: string): number => (winner === 'tie' ? 0.5 : winner === model ? 1 : 0);
  const valid = own.map(({ games }) => (games.includes('error') ? undefined : ([share(games[0]), share(games[1])] as const)));
  return winRate(
    valid.map((g) => (g ? combine(...g) : undefined)),
    valid.flatMap((g) => (g ? [g[0] === g[1]] : [])),
  );
}
