import { figure } from './html.js';
import type { Plot, Series } from './plots.js';
import type { ReportRun } from './run_folder.js';
import { BEFORE, type WinRateFile } from './win_rates.js';

interface Point { x: number; y: number; bar: [number, number]; name: string; method: string; judged: string }

/** A win rate with the policy's KL on its own answers beside it; undefined where either is missing. */
function pointOf({ value: v, name }: WinRateFile, run: ReportRun | undefined): Point | undefined {
  const [x, y, low, high] = [v['kl'], v['win_rate'], v['wilson_low'], v['wilson_high']];
  if (![x, y, low, high].every((n) => typeof n === 'number' && Number.isFinite(n))) return undefined;
  const before = name.endsWith(BEFORE);
  const beta = run?.config['beta'];
  const said = before || !run ? name : `${run.name}${typeof beta === 'number' ? `, β ${figure(beta)}` : ''}`;
  return { x: x as number, y: y as number, bar: [low as number, high as number], name: said, method: before ? 'before training' : String(run?.config['loss_type'] ?? 'other'), judged: JSON.stringify([v['judge'], v['baseline'], v['n']]) };
}

/**
 * The paper's Fig. 5: what a method wins for the distance it goes from the reference. One point a win rate, a line through those of one method;
 * bars are 95 % intervals (Wilson).
 * @param extra win rates that belong to none of the runs
 * @returns undefined for fewer than two points
 */
export function frontier(runs: ReportRun[], extra: WinRateFile[]): Plot | undefined {
  const seen = new Set<string>();
  const points = [...runs.flatMap((r) => r.winRates.map((w) => [w, r] as const)), ...extra.map((w) => [w, undefined] as const)].flatMap(([w, r]) => {
    const point = seen.has(w.path) ? undefined : pointOf(w, r);
    seen.add(w.path);
    return point ? [point] : [];
  });
  if (points.length < 2) return undefined;
  const methods = [...new Set(points.map((p) => p.method))];
  const series = methods.map((method, i): Series => {
    const mine = points.filter((p) => p.method === method).sort((a, b) => a.x - b.x);
    return { label: method, color: i, dash: i, points: mine.map((p) => [p.x, p.y]), bars: mine.map((p) => p.bar), names: mine.map((p) => p.name) };
  });
  const mixed = new Set(points.map((p) => p.judged)).size > 1;
  return {
    id: 'frontier', title: 'Win rate by KL', xTitle: 'KL(π‖ρ) on its own answers, nats', yTitle: 'as in the paper’s Fig. 5', kind: 'points', series, domain: [0, 1.05 * Math.max(...points.map((p) => p.x), 1e-9)], level: 0.5, yFormat: '~%',
    note: `A point higher for the same KL is the better bargain. Bars: 95 % intervals (Wilson).${mixed ? ' Judge, baseline or number of prompts differ between points: such points do not compare.' : ''}`,
  };
}
