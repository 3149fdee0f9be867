import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { lossNames } from '../model/losses/modifiers/compose.js';
import type { GridRun } from './grid.js';
import { finished, heldout, winrate, type Point } from './points.js';

/** One evaluated policy of a comparison: what `edpo eval` says of it on held-out pairs, its own samples, its cost. */
export interface RunResult {
  name: string;
  method: string;
  loss_type: string;
  seed: number;
  /** The β it was trained with; `realign` previews β/λ. */
  beta: number;
  varied: Record<string, string>;
  /** Of a checkpoint: its optimiser step and epoch. */
  step?: number;
  epoch?: number;
  realign?: number;
  /** Accuracy by the implicit reward β (log π − log ρ) of policy and reference, the same for every method. */
  accuracy: number;
  accuracy_se: number;
  margin: number;
  loss_dpo: number;
  /** Sequence KLs on the held-out responses, nats. */
  kl_policy_ref: number;
  kl_ref_policy: number;
  kl_policy_ref_rejected: number;
  kl_ref_policy_rejected: number;
  logps_chosen: number;
  logps_rejected: number;
  /** Shares of held-out pairs that would lower and raise β. */
  lowered: number;
  raised: number;
  final_beta?: number;
  minutes?: number | null;
  gpu_bytes?: number | null;
  win_rate?: number;
  win_rate_se?: number;
  length_controlled?: number;
  /** Sequence KLs on the policy's own samples, nats. */
  sample_kl?: number;
  sample_kl_se?: number;
  sample_kl_ref_policy?: number;
  /** Characters of a sample. */
  mean_length?: number;
  judge?: string;
}

type Figures = Record<string, number>;
const read = (path: string): Record<string, unknown> => JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
const logOf = (run: GridRun): Figures[] => readFileSync(join(run.folder, 'trainer_log.jsonl'), 'utf8').trim().split('\n').map((l) => JSON.parse(l) as Figures);

/** Undefined where the run, or this evaluation of it, is not finished. */
export function resultOf(run: GridRun, p: Point): RunResult | undefined {
  const evaluation = join(heldout(p), 'eval.json');
  if (!finished(run) || !existsSync(evaluation)) return undefined;
  const e = read(evaluation) as Figures;
  const log = logOf(run);
  const end = log.findLast((l) => l['step']! > 0 && l['epoch'] !== undefined);
  return {
    name: run.name, method: run.method, loss_type: lossNames(run.config).join('+'), seed: run.seed, beta: run.config.beta, varied: run.varied,
    ...(p.step === undefined ? {} : { step: p.step, ...(end ? { epoch: (p.step / end['step']!) * end['epoch']! } : {}) }), ...(p.realign === undefined ? {} : { realign: p.realign }),
    accuracy: e['rewards/accuracies']!, accuracy_se: e['rewards/accuracies_se']!, margin: e['margin']!, loss_dpo: e['loss_dpo']!,
    kl_policy_ref: e['kl/policy_ref_chosen']!, kl_ref_policy: e['kl/ref_policy_chosen']!, kl_policy_ref_rejected: e['kl/policy_ref_rejected']!, kl_ref_policy_rejected: e['kl/ref_policy_rejected']!,
    logps_chosen: e['logps/chosen']!, logps_rejected: e['logps/rejected']!, lowered: e['kl/p_epsilon_steps']!, raised: e['kl/n_epsilon_steps']!,
    ...(p.model === run.folder && p.realign === undefined ? { final_beta: Number(read(join(run.folder, 'run.json'))['beta'] ?? run.config.beta), minutes: minutesOf(log), gpu_bytes: Math.max(0, ...log.map((l) => l['gpu_bytes'] ?? 0)) || null } : {}),
    ...sampled(p),
  };
}

function sampled(p: Point): Partial<RunResult> {
  const path = join(winrate(p), 'winrate.json');
  if (!existsSync(path)) return {};
  const w = read(path);
  const controlled = (w['length_controlled'] as { win_rate?: number | null } | undefined)?.win_rate;
  const known = {
    win_rate: w['win_rate'], win_rate_se: w['standard_error'], length_controlled: controlled, sample_kl: w['kl'], sample_kl_se: w['kl_se'], sample_kl_ref_policy: w['kl_ref_policy'], mean_length: w['mean_length'],
    ...(w['judge'] === 'none' ? {} : { judge: w['judge'] }),
  };
  return Object.fromEntries(Object.entries(known).filter(([, v]) => v !== undefined && v !== null)) as Partial<RunResult>;
}

/** Training time by the log: tokens over tokens a second, interval by interval. */
function minutesOf(log: Figures[]): number {
  let [seconds, before] = [0, 0];
  for (const l of log.filter((x) => 'tokens_per_second' in x)) {
    seconds += (l['num_tokens']! - before) / l['tokens_per_second']!;
    before = l['num_tokens']!;
  }
  return seconds / 60;
}

const figure = (x: number | null | undefined, digits = 3): string => (x === null || x === undefined || !Number.isFinite(x) ? '-' : x.toFixed(digits));
const withError = (x: number | undefined, se: number | undefined, digits = 3): string => (x === undefined ? '-' : `${figure(x, digits)} ± ${figure(se, digits)}`);

export interface Column { head: string; of: (r: RunResult) => string }

/** The columns these results have figures for; methods in the comparison's order. */
export function columns(results: RunResult[]): Column[] {
  const has = (key: keyof RunResult): boolean => results.some((r) => r[key] !== undefined);
  const when = (there: boolean, list: Column[]): Column[] => (there ? list : []);
  const column = (head: string, of: (r: RunResult) => string): Column => ({ head, of });
  return [
    column('method', (r) => `${r.name}${r.realign === undefined ? '' : ` at λ ${r.realign}`}${r.step === undefined ? '' : ` at step ${r.step}`}`), column('seed', (r) => String(r.seed)),
    column('held-out accuracy', (r) => withError(r.accuracy, r.accuracy_se)), column('margin', (r) => figure(r.margin)), column('KL(π‖ρ)', (r) => figure(r.kl_policy_ref)), column('KL(ρ‖π)', (r) => figure(r.kl_ref_policy)),
    column('log π chosen', (r) => figure(r.logps_chosen, 1)), column('log π rejected', (r) => figure(r.logps_rejected, 1)),
    column('β at the end', (r) => (r.final_beta === undefined ? '-' : Number(r.final_beta.toPrecision(4)).toString())),
    ...when(has('win_rate'), [column('win rate', (r) => withError(r.win_rate, r.win_rate_se))]), ...when(has('length_controlled'), [column('with lengths held equal', (r) => figure(r.length_controlled))]),
    ...when(has('sample_kl'), [column('KL(π‖ρ) on samples', (r) => withError(r.sample_kl, r.sample_kl_se)), column('KL(ρ‖π) on samples', (r) => figure(r.sample_kl_ref_policy))]), ...when(has('mean_length'), [column('length', (r) => figure(r.mean_length, 0))]),
    ...when(has('minutes'), [column('minutes', (r) => figure(r.minutes, 1)), column('GPU MB', (r) => figure(r.gpu_bytes === null || r.gpu_bytes === undefined ? undefined : r.gpu_bytes / 1e6, 0))]),
  ];
}

/** A Markdown table. */
export function markdown(results: RunResult[]): string {
  const all = columns(results);
  const line = (cells: string[]): string => `| ${cells.join(' | ')} |`;
  return `${[line(all.map((c) => c.head)), line(all.map(() => '---')), ...results.map((r) => line(all.map((c) => c.of(r))))].join('\n')}\n`;
}
