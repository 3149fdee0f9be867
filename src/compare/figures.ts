import type { Plot, Series } from '../report/plots.js';
import type { ReportRun } from '../report/run_folder.js';
import { seedMeans, type SeedMean } from './means.js';
import type { RunResult } from './results.js';

/** What a figure's axis shows of a result. */
interface Measure { key: keyof RunResult; error: keyof RunResult; title: string; format?: string }

const SAMPLE_KL: Measure = { key: 'sample_kl', error: 'sample_kl_se', title: 'KL(π‖ρ) on the policy’s samples, nats' };
const HELDOUT_KL: Measure = { key: 'kl_policy_ref', error: 'kl_policy_ref', title: 'KL(π‖ρ) on held-out chosen responses, nats' };
const WIN_RATE: Measure = { key: 'win_rate', error: 'win_rate_se', title: 'win rate', format: '~%' };
const ACCURACY: Measure = { key: 'accuracy', error: 'accuracy_se', title: 'held-out accuracy', format: '~%' };
const SYMBOLS: Record<string, string> = { beta: 'β', epsilon: 'ε', learning_rate: 'lr', ref_model_mixup_alpha: 'α', ref_model_sync_steps: 'τ' };

const known = (results: RunResult[], m: Measure): boolean => results.some((r) => typeof r[m.key] === 'number');
const within = (varied: Record<string, string>): string => Object.entries(varied).map(([k, v]) => `${SYMBOLS[k] ?? k} ${v}`).join(', ');
/** A method's colour throughout the page; beyond the eighth, colours come again with another dash. */
const look = (methods: string[], method: string): { color: number; dash: number } => { const i = methods.indexOf(method); return { color: i % 7, dash: Math.floor(i / 7) }; };

/** Points that no other beats: none has at most their KL and more gain. By rising KL. */
export function paretoFront(points: Array<[number, number]>): Array<[number, number]> {
  const sorted = [...points].sort((a, b) => a[0] - b[0] || b[1] - a[1]);
  let best = -Infinity;
  return sorted.filter(([, y]) => y > best && ((best = y), true));
}

/** Gain against the price in KL (the paper's Fig. 5): a line a method over its overrides, its realigned points hollow, and the Pareto front of all trained ones. */
function tradeoff(id: string, title: string, results: RunResult[], x: Measure, y: Measure): Plot | undefined {
  const means = seedMeans(results.filter((r) => r.step === undefined)).filter((m) => m.of(x.key) !== undefined && m.of(y.key) !== undefined);
  const trained = means.filter((m) => m.realign === undefined);
  const methods = [...new Set(results.map((r) => r.method))];
  const at = (m: SeedMean): [number, number] => [m.of(x.key)!, m.of(y.key)!];
  const series = (of: SeedMean[], label: string, rest: Pick<Series, 'color' | 'dash' | 'look'>, name: (m: SeedMean) => string): Series => {
    const sorted = [...of].sort((a, b) => at(a)[0] - at(b)[0]);
    return { label, ...rest, points: sorted.map(at), names: sorted.map(name), bars: sorted.map((m): [number, number] => { const [v, e] = [at(m)[1], m.errorOf(y.key, y.error) ?? 0]; return [v - e, v + e]; }) };
  };
  const lines = methods.flatMap((method) => {
    const mine = trained.filter((m) => m.method === method);
    return mine.length === 0 ? [] : [series(mine, method, { ...look(methods, method), ...(mine.length === 1 ? { look: 'dots' as const } : {}) }, (m) => within(m.varied))];
  });
  const previews = trained.flatMap((t) => {
    const of = means.filter((m) => m.name === t.name && m.realign !== undefined);
    return of.length === 0 ? [] : [series(of, `${t.name} realigned`, { color: look(methods, t.method).color, dash: 2, look: 'hollow' }, (m) => `λ ${m.realign}`)];
  });
  if (lines.length === 0) return undefined;
  const front = paretoFront(trained.map(at));
  const all = [...lines, ...previews, ...(front.length > 1 ? [{ label: 'Pareto front', color: 7, dash: 2, look: 'line' as const, points: front }] : [])];
  const seeds = Math.max(...trained.map((m) => m.seeds));
  return {
    id, title, xTitle: x.title, yTitle: y.title, kind: 'points', labelled: true, series: all, ...(y.format ? { yFormat: y.format } : {}),
    note: `Upright lines are one standard error${seeds > 1 ? ` over ${seeds} seeds` : ' of the evaluation'}. Of two points the one further up and to the left is better.${previews.length > 0 ? ' Hollow points were not trained: they decode with logits λ f + (1 − λ) r, a preview of β/λ (Proposition 1).' : ''}`,
  };
}

/** Fig. 5, on samples where there are win rates, and on held-out pairs. */
export function tradeoffs(results: RunResult[]): Plot[] {
  return [
    known(results, WIN_RATE) && known(results, SAMPLE_KL) ? tradeoff('tradeoff', 'KL against win rate', results, SAMPLE_KL, WIN_RATE) : undefined,
    tradeoff('tradeoff-heldout', 'KL against held-out accuracy', results, HELDOUT_KL, ACCURACY),
  ].filter((p): p is Plot => p !== undefined);
}

/** Fig. 3: KL, score and in-batch shares of lowered and raised β at the checkpoints. `runs` by the folder of each result's run. */
export function alongTraining(results: RunResult[], runs: Map<string, ReportRun>): Plot[] {
  const steps = results.filter((r) => r.step !== undefined && r.epoch !== undefined);
  if (steps.length === 0) return [];
  const names = [...new Set(steps.map((r) => r.name))];
  const means = seedMeans(steps);
  const line = (measure: Measure, id: string, title: string): Plot => ({
    id, title, xTitle: 'epoch', yTitle: measure.title, kind: 'points', ...(measure.format ? { yFormat: measure.format } : { zero: true }),
    series: names.map((name, i) => {
      const of = means.filter((m) => m.name === name && m.of(measure.key) !== undefined);
      return { label: name, color: i, dash: Math.floor(i / 8), points: of.map((m): [number, number] => [m.epoch!, m.of(measure.key)!]) };
    }).filter((s) => s.points.length > 0),
  });
  const kl = known(steps, SAMPLE_KL) ? SAMPLE_KL : HELDOUT_KL;
  const score = known(steps, WIN_RATE) ? WIN_RATE : ACCURACY;
  return [line(kl, 'fig3-kl', 'KL along training'), line(score, 'fig3-score', 'Score along training'), shares('lowered', steps, names, runs), shares('raised', steps, names, runs)].filter((p) => p.series.length > 0);
}

/** In-batch share of pairs whose β was lowered (or raised), from the ledger: all pairs between one checkpoint and the next. */
function shares(sign: 'lowered' | 'raised', steps: RunResult[], names: string[], runs: Map<string, ReportRun>): Plot {
  const series = names.map((name, i): Series => {
    const mine = steps.filter((r) => r.name === name);
    const seeds = [...new Set(mine.map((r) => r.seed))];
    const marks = [...new Map(mine.map((r) => [r.step!, r.epoch!])).entries()].sort((a, b) => a[0] - b[0]);
    const points = marks.map(([step, epoch], k): [number, number] => {
      const from = marks[k - 1]?.[0] ?? 0;
      let [pairs, moved] = [0, 0];
      for (const seed of seeds) for (const [at, s] of runs.get(`${name}-s${seed}`)?.ledger?.steps ?? []) {
        if (at <= from || at > step) continue;
        pairs += s.pairs;
        moved += s[sign];
      }
      return [epoch, moved / pairs];
    });
    return { label: name, color: i, dash: Math.floor(i / 8), points };
  }).filter((s) => s.points.some((p) => p[1] > 0));
  return { id: `fig3-${sign}`, title: `β ${sign}`, xTitle: 'epoch', yTitle: 'share of the pairs in training', kind: 'points', series, zero: true, yFormat: '~%', note: 'All pairs trained on since the checkpoint before.' };
}
