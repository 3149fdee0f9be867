import { escape, figure, percent, pm, table } from './html.js';
import { isObject } from './json.js';
import type { LogLine, ReportRun } from './run_folder.js';
import { BEFORE } from './win_rates.js';

const last = (lines: LogLine[], key: string): number | undefined => lines.findLast((l) => Number.isFinite(l[key]))?.[key];

/** Seconds of training by the log: tokens over tokens a second, interval by interval. */
function seconds(run: ReportRun): number | undefined {
  let [sum, before] = [0, 0];
  for (const l of run.train) {
    if (!(l['tokens_per_second']! > 0)) continue;
    sum += (l['num_tokens']! - before) / l['tokens_per_second']!;
    before = l['num_tokens']!;
  }
  return sum > 0 ? sum : undefined;
}
const duration = (s: number | undefined): string | undefined => (s === undefined ? undefined : s < 120 ? `${figure(Math.round(s))} s` : s < 7200 ? `${figure(Math.round(s / 6) / 10)} min` : `${figure(Math.round(s / 360) / 10)} h`);

/** What a figure is called and how a run says it, with its uncertainty; `tile`: shown large where there is one run. */
interface Row { name: string; of: (r: ReportRun) => unknown; sure?: (r: ReportRun) => string | undefined; tile?: boolean }

const evaluated = (r: ReportRun, key: string): unknown => last(r.evals, `eval_${key}`) ?? r.evalFiles[0]?.value[key];
const winRate = (r: ReportRun): Record<string, unknown> | undefined => r.winRates.find((f) => !f.name.endsWith(BEFORE))?.value;
/** A share as per cent with its standard error. */
function accuracy(of: (r: ReportRun) => unknown, error: (r: ReportRun) => unknown): Pick<Row, 'of' | 'sure'> {
  return {
    of: (r) => (of(r) === undefined ? undefined : percent(of(r))),
    sure: (r) => { const se = error(r); return typeof se === 'number' && se > 0 ? `± ${percent(se)}` : undefined; },
  };
}
const RESULTS: Row[] = [
  { name: 'evaluation accuracy', tile: true, ...accuracy((r) => evaluated(r, 'rewards/accuracies'), (r) => evaluated(r, 'rewards/accuracies_se')) },
  { name: 'evaluation loss', tile: true, of: (r) => evaluated(r, 'loss') },
  { name: 'evaluation loss at the starting β', of: (r) => evaluated(r, 'loss_dpo') },
  { name: 'evaluation reward margin', tile: true, of: (r) => evaluated(r, 'rewards/margins') },
  { name: 'evaluation KL(π‖ρ), chosen, nats', tile: true, of: (r) => evaluated(r, 'kl/policy_ref_chosen') },
  { name: 'β, start → end', tile: true, of: (r) => (r.config['beta'] === undefined || last(r.train, 'kl/beta') === undefined ? undefined : `${figure(r.config['beta'])} → ${figure(Number(Number(betaAtEnd(r)).toPrecision(3)))}`) },
  { name: 'win rate', tile: true, of: (r) => winRate(r) && percent(winRate(r)!['win_rate']), sure: (r) => winRate(r) && `(${percent(winRate(r)!['wilson_low'])} to ${percent(winRate(r)!['wilson_high'])})` },
  { name: 'KL(π‖ρ) on its own answers, nats', of: (r) => winRate(r) && pm(winRate(r)!['kl'] as number | undefined, winRate(r)!['kl_se'] as number | undefined) },
  { name: 'best evaluation', of: (r) => (isObject(r.manifest?.['best']) ? `${figure(r.manifest['best']['metric'])} at step ${figure(r.manifest['best']['step'])}` : undefined) },
  { name: 'training loss, last', of: (r) => last(r.train, 'loss') },
  { name: 'training accuracy, last', ...accuracy((r) => last(r.train, 'rewards/accuracies'), (r) => last(r.train, 'rewards/accuracies_se')) },
  { name: 'method', of: (r) => r.config['loss_type'] },
  { name: 'optimiser steps', of: (r) => last(r.train, 'step') },
  { name: 'tokens', of: (r) => last(r.train, 'num_tokens') },
  { name: 'pairs in the ledger', of: (r) => r.ledger?.pairs },
  { name: 'training time', of: (r) => duration(seconds(r)) },
  { name: 'tokens a second, last', of: (r) => last(r.train, 'tokens_per_second') },
  { name: 'GPU memory, most', of: (r) => { const most = r.train.reduce((n, l) => Math.max(n, l['gpu_bytes'] ?? 0), 0); return most > 0 ? `${figure(most >= 1e10 ? most / 1e9 : most / 1e6)} ${most >= 1e10 ? 'GB' : 'MB'}` : undefined; } },
  { name: 'adapter', of: (r) => (isObject(r.manifest?.['adapter']) ? r.manifest['adapter']['adapter'] : undefined) },
  { name: 'edpo', of: (r) => r.version },
];
const betaAtEnd = (r: ReportRun): unknown => r.manifest?.['beta'] ?? last(r.train, 'kl/beta');

/** The figures that a run is remembered by: tiles and a list of one run, a table of several. */
export function glance(runs: ReportRun[]): string {
  const known = RESULTS.map((row) => ({ ...row, values: runs.map(row.of), sure: runs.map((run) => row.sure?.(run)) })).filter(({ values }) => values.some((v) => v !== undefined));
  if (runs.length > 1) return table(['figure', ...runs.map((r) => r.name)], known.map(({ name, values, sure }) => [name, ...values.map((v, i) => [figure(v), sure[i]].filter(Boolean).join(' '))]), { caption: 'At a glance', quiet: true });
  const list = (rows: typeof known, kind: string): string => (rows.length === 0 ? '' : `<dl class="${kind}">${rows.map(({ name, values, sure }) => `<div><dt>${escape(name)}</dt><dd>${escape(figure(values[0]))}${sure[0] ? ` <small>${escape(sure[0])}</small>` : ''}</dd></div>`).join('')}</dl>`);
  return list(known.filter((k) => k.tile), 'tiles') + list(known.filter((k) => !k.tile), 'facts');
}
