import { bradleyTerry, type Battle } from './bradley_terry.js';
import type { ArenaJudgment } from './judgments.js';
import { sigmoid } from './glm.js';
import { bootstrap, quantile } from './statistics.js';

export type ArenaVersion = 'v0.1' | 'v2';
/** A strong verdict (>>) counts as this many games. */
export const STRONG_WEIGHT = 3;

/** Verdict as the share of a win of side A and its weight; the reversed spellings are v2's. */
const LABELS: Record<string, { a: number; weight: number; v2only?: true }> = {
  'A>>B': { a: 1, weight: STRONG_WEIGHT },
  'A>B': { a: 1, weight: 1 },
  'A=B': { a: 0.5, weight: 1 },
  'B>A': { a: 0, weight: 1 },
  'B>>A': { a: 0, weight: STRONG_WEIGHT },
  'A<<B': { a: 0, weight: STRONG_WEIGHT, v2only: true },
  'A<B': { a: 0, weight: 1, v2only: true },
  'B=A': { a: 0.5, weight: 1, v2only: true },
  'B<A': { a: 1, weight: 1, v2only: true },
  'B<<A': { a: 1, weight: STRONG_WEIGHT, v2only: true },
};
const known = (label: string, version: ArenaVersion): boolean => label in LABELS && !(version === 'v0.1' && LABELS[label]!.v2only);

/**
 * Verdict label of a judge's reply (lmarena/arena-hard-auto, gen_judgment.py). v0.1: the [[…]] labels in it, which must all be one; v2: case does not
 * matter and the last [[…]] counts, or, where there is none, the last […]. Undefined: no verdict; nothing is guessed.
 */
export function parseArenaVerdict(reply: string, version: ArenaVersion): string | undefined {
  const find = (text: string, pattern: RegExp): string[] => [...text.matchAll(pattern)].map((m) => m[1]!);
  let label: string | undefined;
  if (version === 'v0.1') {
    const labels = new Set(find(reply, /\[\[([AB<>=]+)\]\]/g));
    label = labels.size === 1 ? [...labels][0] : undefined;
  } else {
    const upper = reply.toUpperCase();
    label = find(upper, /\[\[([AB<>=]+)\]\]/g).at(-1) ?? find(upper, /\[([AB<>=]+)\]/g).at(-1);
  }
  return label !== undefined && known(label, version) ? label : undefined;
}

export interface ArenaBattles {
  /** One entry per valid game; a strong verdict weighs 3. Side a is the model, side b the baseline. */
  battles: Array<Battle & { question: string }>;
  /** Games without a verdict. */
  invalid: number;
  /** Questions left out: v2 drops a question when either game is invalid, v0.1 keeps the other game. */
  dropped: string[];
}

/** Battles from judgments: in the first game A is the baseline, in the second the model. */
export function arenaBattles(judgments: ArenaJudgment[], version: ArenaVersion, baseline: string): ArenaBattles {
  const battles: ArenaBattles['battles'] = [];
  const dropped: string[] = [];
  let invalid = 0;
  for (const { question, model, games, baseline: own } of judgments) {
    const labels = [0, 1].map((g) => (games[g] !== undefined && known(games[g], version) ? LABELS[games[g]]! : undefined));
    const bad = labels.filter((l) => !l).length;
    invalid += bad;
    if (bad === 2 || (bad > 0 && version === 'v2')) {
      dropped.push(question);
      continue;
    }
    labels.forEach((l, g) => l && battles.push({ question, a: model, b: own ?? baseline, share: g === 0 ? 1 - l.a : l.a, weight: l.weight }));
  }
  return { battles, invalid, dropped };
}

function byQuestion(battles: ArenaBattles['battles']): Array<ArenaBattles['battles']> {
  const groups = new Map<string, ArenaBattles['battles']>();
  for (const b of battles) groups.set(b.question, [...(groups.get(b.question) ?? []), b]);
  return [...groups.values()];
}

export interface ArenaScore {
  model: string;
  /** Share of wins against the baseline, in [0, 1]: v0.1 from the Bradley-Terry fit, v2 the mean over weighted games. */
  score: number;
  low: number;
  high: number;
  /** Bradley-Terry rating on Elo's scale, the baseline at 1,000 (v0.1 only). */
  elo?: number;
  /** Weighted games. */
  games: number;
}

export interface ArenaOptions {
  /** 100 by default, as upstream. */
  rounds?: number;
  seed?: number;
  /** What a bootstrap round draws: weighted games as upstream (default), or whole questions with their games, which are not independent. */
  resample?: 'games' | 'questions';
}

/**
 * Arena-Hard's scores (Li et al., 2024; show_result.py). v0.1: unpenalised Bradley-Terry over all battles, ties half a win, predicted win rate against
 * the baseline, interval from the 2.5 and 97.5 percentiles of the bootstrapped ratings. v2: mean over weighted games per model, 5 and 95 percentiles.
 * The bootstrap is seeded and ours, so its digits differ from numpy's.
 */
export function arenaScores(battles: ArenaBattles['battles'], version: ArenaVersion, baseline: string, options: ArenaOptions = {}): ArenaScore[] {
  const { rounds = 100, seed = 0, resample = 'games' } = options;
  const models = [...new Set(battles.map((b) => b.a))].filter((m) => m !== baseline);
  const level = version === 'v0.1' ? 0.95 : 0.9;
  // A strong verdict stands for three equal games and is drawn like three.
  const units = resample === 'games' ? battles.flatMap((b) => Array.from({ length: b.weight }, () => [{ ...b, weight: 1 }])) : byQuestion(battles);
  if (version === 'v2') {
    return models.map((model) => {
      const own = units.map((u) => u.filter((b) => b.a === model)).filter((u) => u.length > 0);
      const sums = own.map((u) => u.reduce((s, b) => [s[0] + b.weight * b.share, s[1] + b.weight] as [number, number], [0, 0] as [number, number]));
      const share = (drawn: Iterable<number>): number => {
        let [wins, games] = [0, 0];
        for (const i of drawn) [wins, games] = [wins + sums[i]![0], games + sums[i]![1]];
        return wins / games;
      };
      const { low, high } = bootstrap(own.length, share, { rounds, seed, level });
      return { model, score: share(own.keys()), low, high, games: sums.reduce((a, s) => a + s[1], 0) };
    });
  }
  const ratings = bradleyTerry(battles, baseline);
  const drawn: Array<Map<string, number>> = [];
  bootstrap(
    units.length,
    (sample) => {
      drawn.push(bradleyTerry(Array.from(sample, (i) => units[i]!).flat(), baseline, 'omit'));
      return 0;
    },
    { rounds, seed },
  );
  return models.map((model) => {
    const rating = ratings.get(model)!;
    // A model that a round did not draw has no rating in it.
    const values = drawn.flatMap((r) => r.get(model) ?? []);
    return {
      model,
      score: sigmoid(rating),
      low: sigmoid(quantile(values, 0.025)),
      high: sigmoid(quantile(values, 0.975)),
      elo: 1000 + (400 * rating) / Math.LN10,
      games: battles.reduce((n, b) => n + (b.a === model ? b.weight : 0), 0),
    };
  });
}
