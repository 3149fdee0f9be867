import { figureHtml } from '../report/figure_html.js';
import { chapters, margins } from '../report/figures.js';
import { escape, figure, percent, table } from '../report/html.js';
import { offlinePage, type Section } from '../report/offline_page.js';
import { pairsHtml } from '../report/pairs_html.js';
import type { Plot } from '../report/plots.js';
import type { ReportRun } from '../report/run_folder.js';
import { asWritten, differences } from '../report/tables.js';
import { alongTraining, tradeoffs } from './figures.js';
import type { Grid } from './grid.js';
import { columns, type RunResult } from './results.js';
import { targetTable } from './target_table.js';

export interface ComparisonRuns {
  /** By `<name>-s<seed>`: the training of each finished run. */
  trained: Map<string, ReportRun>;
  /** The same of its held-out evaluation, for DPO's runs (Fig. 4, Appendix C). */
  heldout: ReportRun[];
}

/** What stands in the page, drawn and undrawn. */
export interface Comparison { html: string; plots: Plot[]; notes: string[] }

/** The comparison as one offline page, of the run report's parts. It holds no time of its making. */
export async function comparisonPage(grid: Grid, results: RunResult[], { trained, heldout }: ComparisonRuns): Promise<Comparison> {
  const sections: Section[] = [];
  const plots: Plot[] = [];
  const notes = [...trained.values(), ...heldout].flatMap((r) => r.notes);
  const add = (id: string, title: string, html: string): void => void (html !== '' && sections.push({ id, title, html }));
  const chapter = async (id: string, title: string, about: string, of: Plot[], after = ''): Promise<void> => {
    if (of.length === 0) return;
    const figures: string[] = [];
    for (const plot of of) figures.push(await figureHtml(plot));
    plots.push(...of);
    add(id, title, `<p class="about">${escape(about)}</p><div class="plots">${figures.join('\n')}</div>${after}`);
  };
  const ends = results.filter((r) => r.step === undefined);
  const all = columns(ends);
  add('table', 'The table', `${table(all.map((c) => c.head), ends.map((r) => all.map((c) => c.of(r).replaceAll('-', '−').replace(/^−$/, '–'))).map((row, i) => [all[0]!.of(ends[i]!), ...row.slice(1)]), { caption: 'One line a run', quiet: true })}
<p class="small">Accuracy, margin and KL on held-out pairs are of β (log π − log ρ) for every method, whatever reward it trains. KL is in nats a response.${ends.some((r) => r.judge !== undefined) ? ` Judge: ${escape([...new Set(ends.flatMap((r) => (r.judge === undefined ? [] : [r.judge])))].join(', '))}.` : ''}</p>`);
  await chapter('tradeoff-chapter', 'Gain against KL', 'How far a policy (π) went from the reference (ρ), and what that bought: the paper’s Fig. 5.', tradeoffs(results));
  await chapter('checkpoints', 'Along training', 'The checkpoints of each run, evaluated as its end is: the paper’s Fig. 3.', alongTraining(results, trained));
  const fig4 = margins(heldout, 'Held-out pairs (the paper’s Fig. 4): “β lowered” are pairs whose preference logit falls as β rises, “β raised” those where it rises');
  await chapter('monotonicity', 'Margins by monotonicity', 'Implicit reward margins under policies that DPO trained, by what ε-DPO would do to each pair.', fig4 ? [{ ...fig4, id: 'fig4' }] : [], marginTable(heldout));
  if (grid.pairs > 0 && heldout[0]) add('appendix-c', 'The four kinds of pairs', await appendixC(heldout[0], notes));
  for (const t of grid.targets) add(`target-${t}`, `Beside the paper: ${t}`, targetTable(t, ends));
  const overlaid = firstOfEach(grid, trained);
  const [learning, penalty] = ['learning', 'beta'].map((id) => chapters(overlaid).find((c) => c.id === id));
  const still = (of: Plot[] | undefined, ids: string[]): Plot[] => (of ?? []).filter((p) => ids.includes(p.id));
  await chapter('training', 'Training', `Logs of ${overlaid.map((r) => r.name).join(', ')}, overlaid; every run has its own report.html.`, [...still(learning?.plots, ['loss_dpo', 'accuracy', 'reward-margins']), ...still(penalty?.plots, ['beta-path', 'kl-chosen'])]);
  const runs = [...trained.values()];
  const rows = runs.length > 1 ? differences(runs) : [];
  add('settings', 'What was run', `${rows.length > 0 ? `<div class="words">${table(['key', ...runs.map((r) => r.name)], rows, { caption: 'Keys in which the runs differ' })}</div>` : ''}${runs.map((r) => asWritten(`${r.name}: resolved configuration`, r.config)).join('')}`);
  const heading = escape(grid.title ?? 'A comparison');
  const about = [`${escape([...new Set(grid.runs.map((r) => r.method))].join(', '))} · ${runs.length} of ${grid.runs.length} runs finished · ${escape(String(grid.runs[0]!.config.model_name_or_path))}`];
  return { html: offlinePage({ brand: 'edpo compare', title: `edpo compare: ${grid.title ?? grid.runs[0]!.method}`, heading, about, notes, sections }), plots, notes };
}

/** A run of each method, up to the eight that colours tell apart. */
function firstOfEach(grid: Grid, trained: Map<string, ReportRun>): ReportRun[] {
  const first = [...new Map([...grid.runs].reverse().map((r) => [r.method, r])).values()].reverse();
  const chosen = first.length > 1 ? first : grid.runs.filter((r) => r.seed === grid.runs[0]!.seed);
  return chosen.slice(0, 8).flatMap((r) => trained.get(`${r.name}-s${r.seed}`) ?? []);
}

/** Mean margins of Fig. 4 in numbers. */
function marginTable(runs: ReportRun[]): string {
  const rows = runs.flatMap((r) => {
    const h = r.ledger?.margins;
    if (!h) return [];
    const total = (['lowered', 'raised', 'unmoved'] as const).reduce((n, s) => n + h.count(s), 0);
    return total === 0 ? [] : [[r.name, ...(['lowered', 'raised', 'unmoved'] as const).flatMap((s) => [percent(h.count(s) / total), h.count(s) > 0 ? figure(h.mean(s)) : '–'])]];
  });
  return rows.length === 0 ? '' : table(['run', 'lowered', 'their mean margin', 'raised', 'their mean margin', 'unmoved', 'their mean margin'], rows, { caption: 'Shares of held-out pairs, and mean margins β h' });
}

/** Appendix C: pairs of largest and smallest margin that would lower and raise β, with their texts. */
async function appendixC(run: ReportRun, notes: string[]): Promise<string> {
  if (!run.ledger) return '';
  const lists = run.ledger.lists.filter((l) => /β (?:lowered|raised)$/.test(l.title));
  return lists.length === 0 ? '' : pairsHtml({ ...run, ledger: { ...run.ledger, lists } }, notes, true);
}
