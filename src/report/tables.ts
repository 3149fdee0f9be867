import { escape, figure, table } from './html.js';
import type { LogLine, ReportRun, WinRateFile } from './run_folder.js';

type Row = [string, (r: ReportRun) => unknown];
const isObject = (v: unknown): v is Record<string, unknown> => typeof v === 'object' && v !== null && !Array.isArray(v);
const last = (lines: LogLine[], key: string): number | undefined => lines.findLast((l) => Number.isFinite(l[key]))?.[key];
/** A mean with its standard error: the error to two figures, the mean to as many decimals. */
function pm(x: number | undefined, se: number | undefined): string | undefined {
  if (x === undefined || se === undefined || !(se > 0)) return x === undefined ? undefined : figure(x);
  const decimals = Math.min(12, Math.max(0, 1 - Math.floor(Math.log10(se))));
  return `${x.toFixed(decimals)} ± ${se.toFixed(decimals)}`.replaceAll('-', '−');
}

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

const RESULTS: Row[] = [
  ['method', (r) => r.config['loss_type']],
  ['optimiser steps', (r) => last(r.train, 'step')],
  ['tokens', (r) => last(r.train, 'num_tokens')],
  ['pairs in the ledger', (r) => r.ledger?.pairs],
  ['training loss, last', (r) => last(r.train, 'loss')],
  ['training accuracy, last', (r) => pm(last(r.train, 'rewards/accuracies'), last(r.train, 'rewards/accuracies_se'))],
  ['evaluation loss, last', (r) => last(r.evals, 'eval_loss') ?? r.evalFiles[0]?.value['loss']],
  ['evaluation loss at the starting β', (r) => last(r.evals, 'eval_loss_dpo') ?? r.evalFiles[0]?.value['loss_dpo']],
  ['evaluation accuracy, last', (r) => pm(last(r.evals, 'eval_rewards/accuracies'), last(r.evals, 'eval_rewards/accuracies_se')) ?? r.evalFiles[0]?.value['rewards/accuracies']],
  ['evaluation reward margin', (r) => last(r.evals, 'eval_rewards/margins') ?? r.evalFiles[0]?.value['rewards/margins']],
  ['evaluation KL(π‖ρ), chosen, nats', (r) => last(r.evals, 'eval_kl/policy_ref_chosen') ?? r.evalFiles[0]?.value['kl/policy_ref_chosen']],
  ['β at the start', (r) => r.config['beta']],
  ['β at the end', (r) => r.manifest?.['beta'] ?? last(r.train, 'kl/beta')],
  ['best evaluation, at step', (r) => (isObject(r.manifest?.['best']) ? `${figure(r.manifest['best']['metric'])}, ${figure(r.manifest['best']['step'])}` : undefined)],
  ['training time', (r) => duration(seconds(r))],
  ['tokens a second, last', (r) => last(r.train, 'tokens_per_second')],
  ['GPU memory, most, MB', (r) => { const most = Math.max(0, ...r.train.map((l) => l['gpu_bytes'] ?? 0)); return most > 0 ? most / 1e6 : undefined; }],
  ['adapter', (r) => (isObject(r.manifest?.['adapter']) ? r.manifest['adapter']['adapter'] : undefined)],
  ['edpo', (r) => r.version],
];

/** The figures that a run is remembered by; one column a run. */
export function glance(runs: ReportRun[]): string {
  const body = RESULTS.map(([name, of]) => [name, runs.map(of)] as const).filter(([, v]) => v.some((x) => x !== undefined)).map(([name, v]) => [name, ...v.map(figure)]);
  return table(['', ...runs.map((r) => r.name)], body, { caption: 'At a glance', quiet: true });
}

/** Configuration keys and manifest fields in which runs differ. */
export function differences(runs: ReportRun[]): string[][] {
  const flat = runs.map((r) => {
    const manifest = Object.fromEntries(['versions', 'adapter', 'hashes'].flatMap((part) => {
      const value = r.manifest?.[part];
      return isObject(value) ? Object.entries(value).filter(([, v]) => !isObject(v)).map(([k, v]) => [`${part}: ${k}`, v]) : [];
    }));
    return { ...r.config, ...manifest } as Record<string, unknown>;
  });
  const keys = [...new Set(flat.flatMap((f) => Object.keys(f)))].filter((k) => k !== 'output_dir');
  const show = (v: unknown): string => (v === undefined ? '–' : typeof v === 'string' ? (/^[0-9a-f]{64}$/.test(v) ? `${v.slice(0, 12)}…` : v) : JSON.stringify(v));
  return keys.map((k) => [k, ...flat.map((f) => show(f[k]))]).filter(([, ...v]) => new Set(v).size > 1);
}

/** Every evaluation of every run, by step. */
export function evaluations(runs: ReportRun[]): string {
  const parts: string[] = [];
  const columns: Array<[string, string]> = [['loss', 'loss'], ['loss_dpo', 'loss at the starting β'], ['rewards/accuracies', 'accuracy'], ['rewards/margins', 'reward margin'], ['kl/policy_ref_chosen', 'KL(π‖ρ) chosen'], ['kl/ref_policy_chosen', 'KL(ρ‖π) chosen'], ['kl/p_epsilon_steps', 'lowered β'], ['kl/n_epsilon_steps', 'raised β']];
  for (const run of runs) {
    if (run.evals.length > 0) {
      const used = columns.filter(([k]) => run.evals.some((l) => `eval_${k}` in l));
      parts.push(table(['step', ...used.map(([, t]) => t)], run.evals.map((l) => [figure(l['step']), ...used.map(([k]) => (k === 'rewards/accuracies' ? (pm(l[`eval_${k}`], l['eval_rewards/accuracies_se']) ?? '–') : figure(l[`eval_${k}`])))]), { caption: `${run.name}: evaluations while training` }));
    }
    for (const { name, value } of run.evalFiles) {
      const used = columns.filter(([k]) => k in value);
      parts.push(table(['pairs', ...used.map(([, t]) => t)], [[figure(value['pairs']), ...used.map(([k]) => figure(value[k]))]], { caption: `${name}: edpo eval` }));
    }
  }
  return parts.join('\n');
}

const percent = (x: unknown): string => (typeof x === 'number' && Number.isFinite(x) ? `${(100 * x).toFixed(1)} %` : '–');

/** What `edpo eval-winrate` wrote, one row each. */
export function winRates(files: WinRateFile[]): string {
  const rows = files.map(({ name, value: v }) => {
    const lc = isObject(v['length_controlled']) ? v['length_controlled'] : {};
    const kl = typeof v['kl'] === 'number' ? pm(v['kl'], v['kl_se'] as number | undefined)! : '–';
    return [name, percent(v['win_rate']), `${percent(v['wilson_low'])} to ${percent(v['wilson_high'])}`, percent(lc['win_rate']), `${figure(v['wins'])} / ${figure(v['ties'])} / ${figure(v['losses'])}`, figure(v['invalid']), `${figure(v['mean_length'])} / ${figure(v['mean_length_baseline'])}`, kl, figure(v['judge']), figure(v['baseline'])];
  });
  return table(['folder', 'win rate', '95 % interval (Wilson)', 'length-controlled', 'wins / ties / losses', 'invalid', 'mean length / baseline’s', 'KL on its samples, nats', 'judge', 'baseline'], rows, { caption: 'Win rates: wins and half the ties' });
}

/** Configuration and manifest, whole. */
export const asWritten = (title: string, value: unknown): string => `<details><summary>${escape(title)}</summary><pre tabindex="0">${escape(JSON.stringify(value, null, 2))}</pre></details>`;
