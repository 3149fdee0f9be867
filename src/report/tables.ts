import { escape, figure, percent, pm, table } from './html.js';
import { isObject } from './json.js';
import type { ReportRun } from './run_folder.js';
import type { WinRateFile } from './win_rates.js';

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

const WINS: Array<[string, (v: Record<string, unknown>) => string]> = [
  ['win rate (wins and half the ties)', (v) => percent(v['win_rate'])],
  ['95 % interval (Wilson)', (v) => `${percent(v['wilson_low'])} to ${percent(v['wilson_high'])}`],
  ['win rate with lengths held equal', (v) => percent(isObject(v['length_controlled']) ? v['length_controlled']['win_rate'] : undefined)],
  ['wins / ties / losses', (v) => `${figure(v['wins'])} / ${figure(v['ties'])} / ${figure(v['losses'])}`],
  ['without a valid verdict', (v) => figure(v['invalid'])],
  ['mean length / baseline’s', (v) => `${figure(v['mean_length'])} / ${figure(v['mean_length_baseline'])}`],
  ['KL to the reference on its samples, nats', (v) => (typeof v['kl'] === 'number' ? pm(v['kl'], v['kl_se'] as number | undefined)! : '–')],
  ['judge', (v) => figure(v['judge']).replace(/([0-9a-f]{12})[0-9a-f]{52}$/, '$1…')],
  ['baseline', (v) => figure(v['baseline'])],
];

/** What `edpo eval-winrate` wrote, one column each. */
export function winRates(files: WinRateFile[]): string {
  const rows = WINS.map(([name, of]) => [name, ...files.map((f) => of(f.value))]).filter(([, ...v]) => v.some((x) => x !== '–'));
  return `<div class="words">${table(['measure', ...files.map((f) => f.name)], rows, { caption: 'Win rates', quiet: true })}</div>`;
}

/** Configuration and manifest, whole. */
export const asWritten = (title: string, value: unknown): string => `<details><summary>${escape(title)}</summary><pre tabindex="0">${escape(JSON.stringify(value, null, 2))}</pre></details>`;
