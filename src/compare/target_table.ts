import { escape, figure, percent, pm, table } from '../report/html.js';
import { seedMeans } from './means.js';
import type { RunResult } from './results.js';
import { TARGETS } from './targets.js';

/** A table of the paper, its figures left, this comparison's right: which are of another model and judge unless the comparison is the paper's own. */
export function targetTable(name: string, results: RunResult[]): string {
  const target = TARGETS[name]!;
  const means = seedMeans(results.filter((r) => r.realign === undefined));
  const here = ['win rate here', 'lengths held equal, here', 'held-out accuracy here', 'KL on samples here'];
  const rows = target.rows.map((row) => {
    const of = row.names.map((n) => means.find((m) => m.method === n)).find((m) => m !== undefined);
    const share = (key: 'win_rate' | 'length_controlled' | 'accuracy'): string => (of?.of(key) === undefined ? '–' : percent(of.of(key)));
    return [row.method, ...row.figures.map((f) => (f === null ? '–' : f.toFixed(1))), share('win_rate'), share('length_controlled'), share('accuracy'), (of && pm(of.of('sample_kl'), of.errorOf('sample_kl', 'sample_kl_se'))) ?? '–'];
  });
  const absent = target.rows.filter((row) => !row.names.some((n) => means.some((m) => m.method === n))).map((r) => r.method);
  const used = [...new Set(results.flatMap((r) => (r.judge === undefined ? [] : [r.judge])))];
  return `${table(['method', ...target.columns, ...here], rows, { caption: target.title })}
<p class="small">Left: arXiv 2502.13177. Right: this comparison${used.length > 0 ? `, judged by ${escape(used.join(', '))}` : ', without a judge'}; the two may be set side by side only where model, data and judge are the paper’s.${absent.length > 0 ? ` Not run here: ${escape(absent.join(', '))}.` : ''} ${figure(results.length)} results.</p>`;
}
