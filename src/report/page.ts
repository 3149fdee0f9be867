import { mixedNames, type DatasetMixture } from '../config/mixture.js';
import { chapters } from './figures.js';
import { figureHtml } from './figure_html.js';
import { frontier } from './frontier.js';
import { glance } from './glance.js';
import { escape, figure, table } from './html.js';
import { offlinePage, type Section } from './offline_page.js';
import { pairsHtml } from './pairs_html.js';
import type { ReportRun } from './run_folder.js';
import { asWritten, differences, evaluations, winRates } from './tables.js';
import type { WinRateFile } from './win_rates.js';

/**
 * One offline page about these runs. It holds no time of its making: the same folders give the same page.
 * @param extra win rates of folders named beside the runs
 * @returns the page, and the notes in it
 */
export async function page(runs: ReportRun[], extra: WinRateFile[], notes: string[]): Promise<{ html: string; notes: string[] }> {
  const sections: Section[] = [];
  const add = (id: string, title: string, html: string): void => void (html !== '' && sections.push({ id, title, html }));
  const all = [...notes, ...runs.flatMap((r) => r.notes)];
  const names = runs.map((r) => r.name);
  add('glance', 'At a glance', glance(runs));
  if (runs.length > 1) {
    const rows = differences(runs);
    add('differences', 'What differs between the runs', rows.length === 0 ? '<p>Nothing but the output folder: the configurations are the same.</p>' : `<div class="words">${table(['key', ...names], rows, { caption: 'Configuration, adapter, versions and hashes that differ', quiet: true })}</div>`);
  }
  for (const c of chapters(runs)) {
    const figures: string[] = [];
    for (const plot of c.plots) figures.push(await figureHtml(plot));
    add(c.id, c.title, `<p class="about">${escape(c.about)}</p><div class="plots">${figures.join('\n')}</div>`);
  }
  const pairs: string[] = [];
  for (const run of runs) pairs.push(await pairsHtml(run, all, runs.length > 1));
  add('pairs', 'Pairs worth reading', pairs.join(''));
  add('evaluations', 'Evaluations', evaluations(runs));
  const wins = [...runs.flatMap((r) => r.winRates), ...extra].filter((w, i, list) => list.findIndex((x) => x.path === w.path) === i);
  const bargain = frontier(runs, extra);
  if (wins.length > 0) add('winrates', 'Win rates', `${bargain ? `<div class="plots">${await figureHtml(bargain)}</div>` : ''}${winRates(wins)}`);
  add('settings', 'Configuration and manifest', runs.map((r) => `${runs.length > 1 ? `<h3>${escape(r.name)}</h3>` : ''}${Object.keys(r.config).length > 0 ? asWritten('Resolved configuration', r.config) : ''}${r.manifest ? asWritten('Manifest (run.json)', { ...r.manifest, config: undefined }) : ''}`).join(''));

  const heading = names.map((n, i) => `${i === 0 ? '' : `<span class="vs">${i === names.length - 1 ? ' and ' : ', '}</span>`}${escape(n)}`).join('');
  const about = runs.map((r) => `${runs.length > 1 ? `<strong>${escape(r.name)}</strong> ` : ''}${escape(describe(r))}`);
  return { html: offlinePage({ brand: 'edpo report', title: `edpo report: ${names.join(', ')}`, heading, about, notes: all, sections }), notes: all };
}

/** A run in a sentence. */
function describe(r: ReportRun): string {
  const c = r.config;
  const data = c['dataset_name'] ?? (Array.isArray(c['data_files']) ? c['data_files'].join(', ') : mixedNames(c['dataset_mixture'] as DatasetMixture | undefined)?.join(' + '));
  const step = r.train.at(-1)?.['step'];
  const parts = [c['loss_type'], c['model_name_or_path'], data, step === undefined ? undefined : `${figure(step)} optimiser ${step === 1 ? 'step' : 'steps'}${r.manifest ? '' : ' so far'}`];
  return parts.filter((p) => p !== undefined).join(' · ');
}
