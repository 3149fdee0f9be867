import type { AlpacaResult } from '../model/judge/benchmark_scores.js';
import type { ArenaScore } from '../model/judge/arena_hard.js';
import type { MtBenchScore } from '../model/judge/mt_bench.js';
import type { WinRate } from '../model/judge/winrate.js';

const percent = (share: number | null | undefined, digits = 2): string => (share === null || share === undefined ? '—' : `${(100 * share).toFixed(digits)} %`);

/** AlpacaEval's numbers as a line for people. */
export function alpacaLine(s: AlpacaResult): string {
  const { full, plain, minimal, from_weights: weights } = s.length_controlled;
  const forms = [['length-controlled', full], ['by published weights', weights], ['by a plain fit', plain], ['minimal form', minimal]] as const;
  const lc = forms.flatMap(([name, f]) => (f ? [`${name} ${percent(f.length_controlled_win_rate)}`] : []));
  return `AlpacaEval: win rate ${percent(s.win_rate)} ± ${percent(s.standard_error)} (${s.n_wins} wins, ${s.n_draws} draws, ${s.n_wins_base} losses${s.n_invalid ? `, ${s.n_invalid} invalid` : ''}); ${lc.join(', ')}; ${Math.round(s.avg_length)} characters against ${Math.round(s.avg_length_baseline)}`;
}

export const arenaLine = (s: ArenaScore): string => `Arena-Hard: ${s.model} ${percent(s.score, 1)} (${percent(s.low, 1)} to ${percent(s.high, 1)}) over ${s.games} weighted games${s.elo === undefined ? '' : `, rating ${s.elo.toFixed(0)}`}`;

export const pairLine = (p: { model: string; baseline: string } & WinRate): string => `MT-Bench pairs: ${p.model} against ${p.baseline}: ${p.wins} wins, ${p.ties} ties, ${p.losses} losses${p.invalid ? `, ${p.invalid} invalid` : ''}: ${percent(p.win_rate, 1)}`;

export function mtBenchLines(s: MtBenchScore): string[] {
  const one = (name: string, m: { mean: number; n: number }): string => `${name} ${m.mean.toFixed(2)}`;
  return [
    `MT-Bench: ${s.model} ${s.average.mean.toFixed(3)} ± ${s.average.standard_error.toFixed(3)} over ${s.average.n} ratings${s.invalid ? `, ${s.invalid} invalid` : ''}; ${Object.entries(s.turns).map(([turn, m]) => one(`turn ${turn}`, m)).join(', ')}`,
    ...(Object.keys(s.categories).length > 0 ? [`  ${Object.entries(s.categories).map(([c, m]) => one(c, m)).join(', ')}`] : []),
  ];
}
