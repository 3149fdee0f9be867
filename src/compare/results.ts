import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { lossNames } from '../model/losses/modifiers/compose.js';
import type { GridRun } from './grid.js';

/** One finished run of a comparison: what `edpo eval` says of it on held-out pairs, its win rate, its cost. */
export interface RunResult {
  name: string;
  loss_type: string;
  seed: number;
  /** Accuracy by the implicit reward β (log π − log ρ) of policy and reference, the same for every method. */
  accuracy: number;
  accuracy_se: number;
  margin: number;
  loss_dpo: number;
  /** Sequence KLs on the held-out chosen responses, nats. */
  kl_policy_ref: number;
  kl_ref_policy: number;
  logps_chosen: number;
  logps_rejected: number;
  final_beta: number;
  minutes: number | null;
  gpu_bytes: number | null;
  win_rate?: number;
  win_rate_se?: number;
  /** KL to the reference on the policy's own samples. */
  sample_kl?: number;
  mean_length?: number;
}

const read = (path: string): Record<string, unknown> => JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;

/** Undefined where the run is not finished. */
export function resultOf(run: GridRun, minutes: number | null): RunResult | undefined {
  const [evalPath, runPath, winPath] = [join(run.folder, 'heldout', 'eval.json'), join(run.folder, 'run.json'), join(run.folder, 'winrate', 'winrate.json')];
  if (!existsSync(evalPath) || !existsSync(runPath)) return undefined;
  const e = read(evalPath) as Record<string, number>;
  const win = existsSync(winPath) ? (read(winPath) as Record<string, number>) : undefined;
  const logged = readFileSync(join(run.folder, 'trainer_log.jsonl'), 'utf8').trim().split('\n').map((l) => JSON.parse(l) as Record<string, number>);
  return {
    name: run.name, loss_type: lossNames(run.config).join('+'), seed: run.seed, accuracy: e['rewards/accuracies']!, accuracy_se: e['rewards/accuracies_se']!, margin: e['margin']!, loss_dpo: e['loss_dpo']!,
    kl_policy_ref: e['kl/policy_ref_chosen']!, kl_ref_policy: e['kl/ref_policy_chosen']!, logps_chosen: e['logps/chosen']!, logps_rejected: e['logps/rejected']!,
    final_beta: Number(read(runPath)['beta'] ?? run.config.beta), minutes, gpu_bytes: Math.max(0, ...logged.map((l) => l['gpu_bytes'] ?? 0)) || null,
    ...(win ? { win_rate: win['win_rate']!, win_rate_se: win['standard_error']!, mean_length: win['mean_length']!, ...(win['kl'] === undefined ? {} : { sample_kl: win['kl'] }) } : {}),
  };
}

const figure = (x: number | null | undefined, digits = 3): string => (x === null || x === undefined || !Number.isFinite(x) ? '-' : x.toFixed(digits));

/** A Markdown table, methods in the comparison's order. */
export function markdown(results: RunResult[]): string {
  const columns: Array<[string, (r: RunResult) => string]> = [
    ['method', (r) => r.name], ['seed', (r) => String(r.seed)], ['held-out accuracy', (r) => `${figure(r.accuracy)} ± ${figure(r.accuracy_se)}`], ['margin', (r) => figure(r.margin)],
    ['KL(π‖ρ)', (r) => figure(r.kl_policy_ref)], ['KL(ρ‖π)', (r) => figure(r.kl_ref_policy)], ['log π chosen', (r) => figure(r.logps_chosen, 1)], ['log π rejected', (r) => figure(r.logps_rejected, 1)],
    ['β at the end', (r) => Number(r.final_beta.toPrecision(4)).toString()],
    ...(results.some((r) => r.win_rate !== undefined) ? [['win rate', (r: RunResult) => `${figure(r.win_rate)} ± ${figure(r.win_rate_se)}`], ['KL on samples', (r: RunResult) => figure(r.sample_kl)], ['length', (r: RunResult) => figure(r.mean_length, 0)]] as Array<[string, (r: RunResult) => string]> : []),
    ['minutes', (r) => figure(r.minutes, 1)], ['GPU MB', (r) => figure(r.gpu_bytes === null ? null : r.gpu_bytes / 1e6, 0)],
  ];
  const line = (cells: string[]): string => `| ${cells.join(' | ')} |`;
  return `${[line(columns.map(([h]) => h)), line(columns.map(() => '---')), ...results.map((r) => line(columns.map(([, f]) => f(r))))].join('\n')}\n`;
}
