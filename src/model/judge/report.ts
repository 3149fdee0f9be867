import { InputError } from '../../errors.js';
import { bootstrapLcMinimal, extremeChange, lcMinimal } from './length_control.js';
import { bootstrapMean, characters, mean, standardError } from './statistics.js';
import { combine, winRate, type WinRate } from './winrate.js';

/** One prompt's two games: the model's share of a win in each, in [0, 1], undefined where the judge gave no verdict (or only one game was played). */
export interface Games {
  first: number | undefined;
  second: number | undefined;
  output: string;
  baseline: string;
}

/** Everything `edpo eval-winrate` says of one comparison (user-anchors 5.6). Rates are shares. */
export interface WinRateReport extends WinRate {
  bootstrap: { low: number; high: number; rounds: number; seed: number };
  /** Mean share over the games, before it is cut to win, tie or loss; equal to `win_rate` for judges that give no degrees and never disagree. */
  continuous_win_rate: number;
  continuous_standard_error: number;
  /** Mean lengths in characters (code points) over all prompts. */
  mean_length: number;
  mean_length_baseline: number;
  length_controlled: {
    win_rate: number | null;
    low: number;
    high: number;
    rounds: number;
    seed: number;
    length_weight: number | null;
    extreme: boolean;
    note?: string;
  };
}

/** A share as a discrete outcome. */
const discrete = (share: number | undefined): number | undefined => (share === undefined ? undefined : share > 0.5 ? 1 : share < 0.5 ? 0 : 0.5);

/**
 * Summary of all prompts: discrete outcomes by `combine`, Wilson and bootstrap intervals over prompts, position consistency over the prompts with two
 * valid games, lengths, and the length-controlled rate in its minimal form (on the discrete outcomes). Seeded, so the same input gives the same digits.
 * @param options.rounds of the bootstrap of the win rate (1,000); `lcRounds` of the refitted one (200)
 */
export function winRateReport(games: Games[], options: { seed?: number; rounds?: number; lcRounds?: number } = {}): WinRateReport {
  const { seed = 0, rounds = 1000, lcRounds = 200 } = options;
  games.forEach(({ first, second }, i) => {
    for (const s of [first, second])
      if (s !== undefined && !(s >= 0 && s <= 1)) throw new InputError(`prompt ${i}: expected a share of a win in [0, 1], got ${s}`);
  });
  const outcomes = games.map((g) => combine(discrete(g.first), discrete(g.second)));
  const both = games.filter((g) => g.first !== undefined && g.second !== undefined);
  const base = winRate(
    outcomes,
    both.map((g) => discrete(g.first) === discrete(g.second)),
  );
  const valid = outcomes.filter((o): o is number => o !== undefined);
  const shares = games.flatMap(({ first, second }) =>
    first === undefined && second === undefined ? [] : [mean([first, second].filter((s): s is number => s !== undefined))],
  );
  const { low, high } = bootstrapMean(valid, { rounds, seed });
  const lengthModel = games.map((g) => characters(g.output));
  const lengthBaseline = games.map((g) => characters(g.baseline));
  const data = { shares: outcomes, lengthBaseline, lengthModel };
  const lc = lcMinimal(data);
  const lcInterval = lc.length_controlled_win_rate === null ? { low: NaN, high: NaN } : bootstrapLcMinimal(data, { rounds: lcRounds, seed });
  return {
    ...base,
    bootstrap: { low, high, rounds, seed },
    continuous_win_rate: mean(shares),
    continuous_standard_error: standardError(shares),
    mean_length: mean(lengthModel),
    mean_length_baseline: mean(lengthBaseline),
    length_controlled: {
      win_rate: lc.length_controlled_win_rate,
      low: lcInterval.low,
      high: lcInterval.high,
      rounds: lcRounds,
      seed,
      length_weight: lc.weights?.length ?? null,
      extreme: lc.length_controlled_win_rate !== null && extremeChange(base.win_rate, lc.length_controlled_win_rate),
      ...(lc.note === undefined ? {} : { note: lc.note }),
    },
  };
}
