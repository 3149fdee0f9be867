import { mixesEvaluation, type DatasetMixture } from '../config/mixture.js';
import { escape, figure } from './html.js';
import type { NamedPair } from './ledger.js';
import type { ReportRun } from './run_folder.js';
import { pairTexts, type PairText } from './texts.js';

const stepWord = (p: NamedPair): string => (p.epsilon_step === null || p.epsilon_step === undefined ? '' : p.epsilon_step > 0 ? ' · lowered β' : p.epsilon_step < 0 ? ' · raised β' : ' · left β');

/** The pairs a run's ledger names, with their texts where the data are at hand (the paper's Appendix C). */
export async function pairsHtml(run: ReportRun, notes: string[], named: boolean): Promise<string> {
  const ledger = run.ledger;
  if (!ledger || ledger.lists.length === 0) return '';
  const ids = new Set(ledger.lists.flatMap((l) => l.pairs.map((p) => p.id)));
  const fromEval = run.train.length === 0 && run.evalFiles.length > 0 && !(typeof run.config['dataset_name'] === 'string' && /\.(jsonl|ndjson|json|parquet)(\.gz)?$/.test(run.config['dataset_name'])) && (run.config['dataset_mixture'] === undefined || mixesEvaluation(run.config as { dataset_mixture: DatasetMixture }));
  const texts = Object.keys(run.config).length === 0 ? 'the folder does not say which data it was made from' : await pairTexts(run.config, fromEval ? 'eval' : 'train', ids);
  if (typeof texts === 'string') notes.push(`${run.name}: the pairs are named without their texts: ${texts}`);
  const lists = ledger.lists.map((l) => {
    const span = l.pairs.length === 1 ? `1 pair, margin ${figure(l.pairs[0]!.margin)}` : `${figure(l.pairs.length)} pairs, margins ${figure(l.pairs[0]!.margin)} to ${figure(l.pairs.at(-1)!.margin)}`;
    return `<details class="list"><summary><span class="name">${escape(l.title)}${named ? `<span class="hidden"> of ${escape(run.name)}</span>` : ''}</span> <span class="span">${span}</span></summary><p class="small">${escape(l.about)}</p>${l.pairs.map((p) => pair(p, typeof texts === 'string' ? undefined : texts.get(p.id))).join('')}</details>`;
  });
  return `${named ? `<h3>${escape(run.name)}</h3>` : ''}<p class="about">${figure(ledger.windowPairs)} pairs of the last pass over the data${ledger.fromStep > 0 ? ` (from step ${figure(ledger.fromStep)})` : ''}, by their ${escape(ledger.marginName)}.${typeof texts === 'string' ? '' : ' Texts are read from the data as they are now.'}</p>${lists.join('\n')}`;
}

function pair(p: NamedPair, text: PairText | undefined): string {
  const tokens = `${figure(p.tokens_prompt)} + ${figure(p.tokens_chosen!)}${p.tokens_rejected === null ? '' : ` / ${figure(p.tokens_rejected)}`} tokens`;
  const part = (name: string, value: string, kind = ''): string => `<div class="${kind}"><p class="side">${name}</p><div class="text" tabindex="0" role="group" aria-label="${name} of pair ${p.id}">${escape(value)}</div></div>`;
  const sides = text ? `${part('Prompt', text.prompt)}<div class="sides">${part('Chosen', text.chosen, 'chosen')}${part('Rejected', text.rejected, 'rejected')}</div>` : '';
  return `<div class="pair"><p><strong>Pair ${p.id}</strong> · margin ${figure(p.margin)}${stepWord(p)} · loss ${figure(p.loss)} · step ${figure(p.step)} · ${tokens}</p>${sides}</div>`;
}
