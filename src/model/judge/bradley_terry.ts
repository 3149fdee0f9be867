import { InputError } from '../../errors.js';
import { fitLogistic } from './glm.js';

/** Games between two players: the share of a win of side a (1, 0.5, 0) and how many games it stands for. */
export interface Battle {
  a: string;
  b: string;
  share: number;
  weight: number;
}

/**
 * Ratings β of the Bradley-Terry model, P(a beats b) = σ(β_a - β_b), by maximum likelihood; a tie is half a win for each side.
 * Unpenalised but for the documented ridge of `fitLogistic`, which keeps an undefeated player finite. Natural logarithm; Elo is 400/ln 10 of it.
 * A player that no chain of games links with the anchor has no rating: an InputError, or left out (a bootstrap round may lose a link).
 * @param anchor player whose rating is 0
 */
export function bradleyTerry(battles: readonly Battle[], anchor: string, unlinked: 'error' | 'omit' = 'error'): Map<string, number> {
  const pairs = new Map<string, { a: string; b: string; wins: number; games: number }>();
  const links = new Map<string, Set<string>>([[anchor, new Set()]]);
  for (const { a, b, share, weight } of battles) {
    if (a === b) continue;
    // One row per pair of players: the likelihood needs their sums only.
    const [x, y, s] = a < b ? [a, b, share] : [b, a, 1 - share];
    const key = JSON.stringify([x, y]);
    const pair = pairs.get(key) ?? { a: x, b: y, wins: 0, games: 0 };
    pair.wins += s * weight;
    pair.games += weight;
    pairs.set(key, pair);
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const)
      links.set(from, (links.get(from) ?? new Set()).add(to));
  }
  const reached = new Set([anchor]);
  for (const player of reached) for (const next of links.get(player)!) reached.add(next);
  const lost = [...links.keys()].filter((p) => !reached.has(p));
  if (lost.length > 0 && unlinked === 'error')
    throw new InputError(
      `Bradley-Terry: no chain of games links ${lost.slice(0, 3).join(', ')} with ${anchor}`,
      'give the judgments against that baseline too',
    );
  const players = [...reached].filter((p) => p !== anchor);
  const column = new Map(players.map((p, i) => [p, i]));
  const d = players.length;
  const linked = [...pairs.values()].filter((pair) => reached.has(pair.a));
  const x = new Float64Array(linked.length * d);
  const p = new Float64Array(linked.length);
  const w = new Float64Array(linked.length);
  linked.forEach((pair, i) => {
    if (pair.a !== anchor) x[i * d + column.get(pair.a)!] = 1;
    if (pair.b !== anchor) x[i * d + column.get(pair.b)!] = -1;
    p[i] = pair.wins / pair.games;
    w[i] = pair.games;
  });
  const beta = fitLogistic({ d, x, p, w });
  return new Map([[anchor, 0], ...players.map((name, i) => [name, beta[i]!] as [string, number])]);
}
