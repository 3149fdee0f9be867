import type { ReportRun } from './run_folder.js';
import { SIGNS } from './ledger.js';
import type { Plot, Series } from './plots.js';

/** A heading with its plots. */
export interface Chapter {
  id: string;
  title: string;
  about: string;
  plots: Plot[];
}

type Pick = { label: string; from: 'train' | 'evals'; key: string };
type LogPlot = Omit<Plot, 'xTitle' | 'kind' | 'series' | 'domain'> & { keys: Pick[]; scale?: number };

/** Alone, each line of a run has its colour and dash; with several runs colour tells the run and the dash the line. */
const style = (runs: ReportRun[], run: number, line: number): { color: number; dash: number } => (runs.length > 1 ? { color: run, dash: line } : { color: line, dash: line });
const label = (runs: ReportRun[], run: ReportRun, line: string): string => (runs.length > 1 ? `${run.name}: ${line}` : line);

const X_TITLE = 'optimiser step';
const training = (key: string, name = 'training'): Pick => ({ label: name, from: 'train', key });
const both = (key: string): Pick[] => [training(key), { label: 'evaluation', from: 'evals', key: `eval_${key}` }];

/** Steps of all runs on one axis, so that every plot of the page has the same. */
function stepAxis(runs: ReportRun[]): [number, number] {
  const last = runs.flatMap((r) => [r.train.at(-1)?.['step'] ?? 0, r.evals.at(-1)?.['step'] ?? 0, ...(r.ledger?.steps.keys() ?? [])]).reduce((a, b) => Math.max(a, b), 1);
  return [0, last];
}

/** One plot of the log's keys. */
function logPlot(runs: ReportRun[], { id, title, yTitle, keys, scale = 1, ...rest }: LogPlot): Plot | undefined {
  const series: Series[] = [];
  const used = keys.filter((k) => runs.some((r) => r[k.from].some((l) => Number.isFinite(l[k.key]))));
  runs.forEach((run, r) => {
    used.forEach((k, i) => {
      const points = run[k.from].filter((l) => Number.isFinite(l[k.key])).map((l): [number, number] => [l['step']!, l[k.key]! * scale]);
      if (points.length > 0) series.push({ ...style(runs, r, i), label: runs.length > 1 && used.length === 1 ? run.name : label(runs, run, k.label), points });
    });
  });
  return series.length === 0 ? undefined : { id, title, xTitle: X_TITLE, yTitle, kind: 'line', series, domain: stepAxis(runs), ...rest };
}

/** Shares of pairs that lowered and raised β, step by step from the ledger: the log has means over its intervals only. */
function shares(runs: ReportRun[]): Plot | undefined {
  const series: Series[] = [];
  runs.forEach((run, r) => {
    // Step 0 is an evaluation's.
    const steps = [...(run.ledger?.steps ?? [])].filter(([step]) => step > 0).sort((a, b) => a[0] - b[0]);
    if (!steps.some(([, s]) => s.lowered + s.raised + s.unmoved > 0)) return;
    (['lowered', 'raised', 'unmoved'] as const).forEach((sign, i) => series.push({ ...style(runs, r, i), label: label(runs, run, `β ${sign}`), points: steps.map(([step, s]) => [step, s[sign] / s.pairs]) }));
  });
  return series.length === 0 ? undefined : {
    id: 'shares', title: 'β lowered or raised', xTitle: X_TITLE, yTitle: 'share of pairs', kind: 'line', series, domain: stepAxis(runs), zero: true, yFormat: '~%',
    note: 'The ε-step of each pair: β is lowered where the preference logit grows as β falls, raised where it grows as β rises.',
  };
}

/** The paper's Fig. 4: implicit reward margins of the pairs that lowered and that raised β, in the last pass over the data. */
export function margins(runs: ReportRun[], about = 'Last pass over the data (the paper’s Fig. 4)'): Plot | undefined {
  const series: Series[] = [];
  const means: string[] = [];
  runs.forEach((run, r) => {
    const h = run.ledger?.margins;
    if (!h) return;
    const { width, begins, counts } = h.read();
    SIGNS.filter((s) => h.count(s) > 0).forEach((sign, i) => {
      const name = label(runs, run, sign === 'none' ? 'all pairs' : `β ${sign}`);
      const mean = h.mean(sign)!;
      series.push({ ...style(runs, r, i), label: name, mean, bin: width, points: filled(begins.map((b, k) => [b + width / 2, counts[sign]![k]! / h.count(sign)])) });
      means.push(`${name} ${Number(mean.toPrecision(3))} (${h.count(sign)} pairs)`);
    });
  });
  if (series.length === 0) return undefined;
  const name = runs.find((r) => r.ledger)?.ledger?.marginName ?? 'margin';
  return { id: 'margins', title: 'Margins by β’s step', xTitle: name, yTitle: 'share of the group', kind: 'steps', series, yFormat: '~%', note: `${about}; upright lines are means: ${means.join('; ')}.`.replaceAll(' -', ' −') };
}

/** Without the empty bins before the first and after the last filled one. */
function filled(points: Array<[number, number]>): Array<[number, number]> {
  return points.slice(points.findIndex((p) => p[1] > 0), points.findLastIndex((p) => p[1] > 0) + 1);
}

function lengths(runs: ReportRun[]): Plot | undefined {
  const series: Series[] = [];
  runs.forEach((run, r) => {
    const h = run.ledger?.lengths;
    if (!h) return;
    const { width, begins, counts } = h.read();
    (['prompt', 'chosen', 'rejected'] as const).filter((g) => h.count(g) > 0).forEach((g, i) => {
      series.push({ ...style(runs, r, i), label: label(runs, run, g), bin: width, points: filled(begins.map((b, k) => [b + (width - 1) / 2, counts[g]![k]! / h.count(g)])) });
    });
  });
  return series.length === 0 ? undefined : { id: 'lengths', title: 'Lengths', xTitle: 'tokens', yTitle: 'share of the pairs', kind: 'steps', series, yFormat: '~%' };
}

/** All plots that these runs have figures for. */
export function chapters(runs: ReportRun[]): Chapter[] {
  const most = runs.flatMap((r) => r.train.map((l) => Math.max(l['gpu_bytes'] ?? 0, l['rss_bytes'] ?? 0))).reduce((a, b) => Math.max(a, b), 0);
  const [unit, scale] = most >= 1e10 ? ['GB', 1e-9] : ['MB', 1e-6];
  const kl = (side: 'chosen' | 'rejected'): Pick[] => [training(`kl/policy_ref_${side}`, 'KL(π‖ρ)'), training(`kl/ref_policy_${side}`, 'KL(ρ‖π)')];
  const sides = (key: string): Pick[] => [training(`${key}/chosen`, 'chosen'), training(`${key}/rejected`, 'rejected')];
  const entropy = logPlot(runs, { id: 'entropy', title: 'Entropy', yTitle: 'nats a token', keys: both('entropy') });
  const penalty = found([
    logPlot(runs, { id: 'beta-path', title: 'β', yTitle: 'at the start of a step', keys: [training('kl/beta', 'β')] }),
    shares(runs),
    margins(runs),
    logPlot(runs, { id: 'kl-chosen', title: 'KL on chosen responses', yTitle: 'nats a response', keys: kl('chosen'), zero: true }),
    logPlot(runs, { id: 'kl-rejected', title: 'KL on rejected responses', yTitle: 'nats a response', keys: kl('rejected'), zero: true }),
  ]);
  const all: Chapter[] = [
    { id: 'learning', title: 'Learning', about: 'What the run minimises, and whether the policy prefers the chosen responses. Training figures are means over a logging interval.', plots: found([
      logPlot(runs, { id: 'loss', title: 'Loss', yTitle: '', keys: both('loss') }),
      logPlot(runs, { id: 'loss_dpo', title: 'Loss at the starting β', yTitle: '', keys: both('loss_dpo'), note: 'Comparable along a run whose β moves, and between runs.' }),
      logPlot(runs, { id: 'accuracy', title: 'Accuracy', yTitle: 'share of pairs', keys: both('rewards/accuracies'), level: 0.5, yFormat: '~%', note: 'Pairs whose chosen response has the higher implicit reward; a tie counts as wrong, and before the first step all tie. The dotted line is chance.' }),
      logPlot(runs, { id: 'reward-margins', title: 'Reward margin', yTitle: 'chosen − rejected', keys: both('rewards/margins') }),
      logPlot(runs, { id: 'rewards', title: 'Implicit rewards', yTitle: 'β × log-ratio to the reference', keys: sides('rewards'), note: 'Both may fall: the loss sees their distance alone. That they do is usual, not a fault.' }),
      logPlot(runs, { id: 'logps', title: 'Log-probabilities', yTitle: 'nats a response', keys: sides('logps') }),
      penalty.length === 0 ? entropy : undefined,
    ]) },
    { id: 'beta', title: 'β and the KL penalty', about: 'How ε-DPO relaxes or tightens the penalty, and how far the policy (π) has gone from the reference (ρ).', plots: penalty.length === 0 ? [] : found([...penalty, entropy]) },
    { id: 'machine', title: 'Optimisation, data and machine', about: 'Steps of the optimiser, lengths of what was read, and what it cost.', plots: found([
      logPlot(runs, { id: 'grad-norm', title: 'Gradient norm', yTitle: 'before clipping', keys: [training('grad_norm', 'gradient norm')], zero: true }),
      logPlot(runs, { id: 'learning-rate', title: 'Learning rate', yTitle: '', keys: [training('learning_rate', 'learning rate')], zero: true, yFormat: '~g' }),
      lengths(runs),
      logPlot(runs, { id: 'throughput', title: 'Throughput', yTitle: 'tokens a second', keys: [training('tokens_per_second', 'throughput')], zero: true, yFormat: '~s' }),
      logPlot(runs, { id: 'memory', title: 'Memory', yTitle: unit as string, scale: scale as number, keys: [training('gpu_bytes', 'GPU, most so far'), training('rss_bytes', 'process')], zero: true }),
    ]) },
  ];
  return all.filter((c) => c.plots.length > 0);
}

const found = (plots: Array<Plot | undefined>): Plot[] => plots.filter((p): p is Plot => p !== undefined);
