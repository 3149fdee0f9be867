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

/** One plot of the log's keys: alone, each key has its colour; with several runs colour tells the run and the dash the key. */
function logPlot(runs: ReportRun[], o: { id: string; title: string; yTitle: string; keys: Pick[]; note?: string; zero?: boolean; scale?: number }): Plot | undefined {
  const series: Series[] = [];
  const used = o.keys.filter((k) => runs.some((r) => r[k.from].some((l) => Number.isFinite(l[k.key]))));
  runs.forEach((run, r) => {
    used.forEach((k, i) => {
      const points = run[k.from].filter((l) => Number.isFinite(l[k.key])).map((l): [number, number] => [l['step']!, l[k.key]! * (o.scale ?? 1)]);
      if (points.length > 0) series.push({ ...style(runs, r, i), label: label(runs, run, used.length > 1 ? k.label : k.label), points });
    });
  });
  return series.length === 0 ? undefined : { id: o.id, title: o.title, xTitle: 'optimiser step', yTitle: o.yTitle, kind: 'line', series, ...(o.note ? { note: o.note } : {}), ...(o.zero ? { zero: true } : {}) };
}

const style = (runs: ReportRun[], run: number, key: number): { color: number; dash: number } => (runs.length > 1 ? { color: run, dash: key } : { color: key, dash: key });
const label = (runs: ReportRun[], run: ReportRun, key: string): string => (runs.length > 1 ? `${run.name}: ${key}` : key);

/** Shares of pairs that lowered and raised β, step by step from the ledger: the log has means over its intervals only. */
function shares(runs: ReportRun[]): Plot | undefined {
  const series: Series[] = [];
  runs.forEach((run, r) => {
    const steps = [...(run.ledger?.steps ?? [])].sort((a, b) => a[0] - b[0]);
    if (!steps.some(([, s]) => s.lowered + s.raised + s.unmoved > 0)) return;
    (['lowered', 'raised', 'unmoved'] as const).forEach((sign, i) => series.push({ ...style(runs, r, i), label: label(runs, run, `β ${sign}`), points: steps.map(([step, s]) => [step, s[sign] / s.pairs]) }));
  });
  return series.length === 0 ? undefined : { id: 'shares', title: 'Pairs that lowered and raised β', xTitle: 'optimiser step', yTitle: 'share of the step’s pairs', kind: 'line', series, zero: true, note: 'The ε-step of each pair: β lowered where the smaller β fits the policy better, raised where the larger one does.' };
}

/** The paper's Fig. 4: implicit reward margins of the pairs that lowered and that raised β, in the last pass over the data. */
function margins(runs: ReportRun[]): Plot | undefined {
  const series: Series[] = [];
  const means: string[] = [];
  runs.forEach((run, r) => {
    const h = run.ledger?.margins;
    if (!h) return;
    const { width, begins, counts } = h.read();
    SIGNS.filter((s) => h.count(s) > 0).forEach((sign, i) => {
      const name = sign === 'none' ? 'all pairs' : `β ${sign}`;
      series.push({ ...style(runs, r, i), label: label(runs, run, name), points: begins.map((b, k) => [b + width / 2, counts[sign]![k]! / h.count(sign)]) });
      means.push(`${label(runs, run, name)} ${Number(h.mean(sign)!.toPrecision(3))} (${h.count(sign)} pairs)`);
    });
  });
  if (series.length === 0) return undefined;
  const name = runs.find((r) => r.ledger)?.ledger?.marginName ?? 'margin';
  return { id: 'margins', title: 'Margins by β’s step', xTitle: name, yTitle: 'share of the group', kind: 'steps', series, yFormat: '.0%', note: `Last pass over the data (the paper’s Fig. 4). Means: ${means.join('; ')}.` };
}

function lengths(runs: ReportRun[]): Plot | undefined {
  const series: Series[] = [];
  runs.forEach((run, r) => {
    const h = run.ledger?.lengths;
    if (!h) return;
    const { width, begins, counts } = h.read();
    (['prompt', 'chosen', 'rejected'] as const).filter((g) => h.count(g) > 0).forEach((g, i) => {
      series.push({ ...style(runs, r, i), label: label(runs, run, g), points: begins.map((b, k) => [b + (width - 1) / 2, counts[g]![k]! / h.count(g)]) });
    });
  });
  return series.length === 0 ? undefined : { id: 'lengths', title: 'Lengths', xTitle: 'tokens', yTitle: 'share of the pairs', kind: 'steps', series, yFormat: '.0%' };
}

const both = (key: string, name = ''): Pick[] => [{ label: `training${name}`, from: 'train', key }, { label: `evaluation${name}`, from: 'evals', key: `eval_${key}` }];

/** All plots that these runs have figures for. */
export function chapters(runs: ReportRun[]): Chapter[] {
  const MB = 1 / 1e6;
  const all: Chapter[] = [
    { id: 'learning', title: 'Learning', about: 'What the run minimises, and whether the policy prefers the chosen responses. Training figures are means over a logging interval.', plots: found([
      logPlot(runs, { id: 'loss', title: 'Loss', yTitle: 'loss', keys: both('loss') }),
      logPlot(runs, { id: 'loss_dpo', title: 'Loss at the starting β', yTitle: 'loss', keys: both('loss_dpo'), note: 'Comparable along a run whose β moves, and between runs.' }),
      logPlot(runs, { id: 'accuracy', title: 'Accuracy', yTitle: 'share of pairs', keys: both('rewards/accuracies'), note: 'Pairs whose chosen response has the higher implicit reward; a tie counts as wrong.' }),
      logPlot(runs, { id: 'reward-margins', title: 'Reward margin', yTitle: 'chosen − rejected', keys: both('rewards/margins') }),
      logPlot(runs, { id: 'rewards', title: 'Implicit rewards', yTitle: 'reward', keys: [{ label: 'chosen', from: 'train', key: 'rewards/chosen' }, { label: 'rejected', from: 'train', key: 'rewards/rejected' }] }),
      logPlot(runs, { id: 'logps', title: 'Log-probabilities', yTitle: 'nats a response', keys: [{ label: 'chosen', from: 'train', key: 'logps/chosen' }, { label: 'rejected', from: 'train', key: 'logps/rejected' }] }),
    ]) },
    { id: 'beta', title: 'β and the KL penalty', about: 'How ε-DPO relaxes or tightens the penalty, and how far the policy has gone from the reference.', plots: found([
      logPlot(runs, { id: 'beta-path', title: 'β', yTitle: 'β', keys: [{ label: 'β', from: 'train', key: 'kl/beta' }] }),
      shares(runs),
      margins(runs),
      logPlot(runs, { id: 'kl-chosen', title: 'KL on chosen responses', yTitle: 'nats a response', keys: [{ label: 'KL(π‖ρ)', from: 'train', key: 'kl/policy_ref_chosen' }, { label: 'KL(ρ‖π)', from: 'train', key: 'kl/ref_policy_chosen' }], zero: true, note: 'π the policy, ρ the reference.' }),
      logPlot(runs, { id: 'kl-rejected', title: 'KL on rejected responses', yTitle: 'nats a response', keys: [{ label: 'KL(π‖ρ)', from: 'train', key: 'kl/policy_ref_rejected' }, { label: 'KL(ρ‖π)', from: 'train', key: 'kl/ref_policy_rejected' }], zero: true }),
      logPlot(runs, { id: 'entropy', title: 'Entropy', yTitle: 'nats a token', keys: both('entropy') }),
    ]) },
    { id: 'machine', title: 'Optimisation, data and machine', about: 'Steps of the optimiser, lengths of what was read, and what it cost.', plots: found([
      logPlot(runs, { id: 'grad-norm', title: 'Gradient norm', yTitle: 'norm before clipping', keys: [{ label: 'gradient norm', from: 'train', key: 'grad_norm' }], zero: true }),
      logPlot(runs, { id: 'learning-rate', title: 'Learning rate', yTitle: 'learning rate', keys: [{ label: 'learning rate', from: 'train', key: 'learning_rate' }], zero: true }),
      lengths(runs),
      logPlot(runs, { id: 'throughput', title: 'Throughput', yTitle: 'tokens a second', keys: [{ label: 'tokens a second', from: 'train', key: 'tokens_per_second' }], zero: true }),
      logPlot(runs, { id: 'memory', title: 'Memory', yTitle: 'MB', scale: MB, keys: [{ label: 'GPU, most so far', from: 'train', key: 'gpu_bytes' }, { label: 'process', from: 'train', key: 'rss_bytes' }], zero: true }),
    ]) },
  ];
  return all.filter((c) => c.plots.length > 0);
}

const found = (plots: Array<Plot | undefined>): Plot[] => plots.filter((p): p is Plot => p !== undefined);
