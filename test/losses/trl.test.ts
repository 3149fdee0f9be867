import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { KEYS } from '../../src/config/keys.js';
import { LOSS_NAMES } from '../../src/model/losses/index.js';
import { deviation, near, stepper, type GoldenModel, type Projections } from '../helpers/one_step.js';

interface Case { name: string; trainer: string; documents: string; arguments: Record<string, unknown>; metrics: Record<string, number>; gradients: Projections }
interface Golden extends GoldenModel { versions: Record<string, string>; documents: Record<string, Array<Record<string, number[] | boolean>>>; cases: Case[] }
/** What TRL's own trainers did in one optimiser step: test/goldens/make_trl.py. */
const golden = JSON.parse(readFileSync('test/goldens/trl.json', 'utf8')) as Golden;
/** Of the last TRL with a BCO trainer: test/goldens/make_bco.py. */
const bco = JSON.parse(readFileSync('test/goldens/bco.json', 'utf8')) as Pick<Golden, 'versions' | 'documents' | 'cases'>;
Object.assign(golden.documents, bco.documents);
golden.cases.push(...bco.cases);
const dir = mkdtempSync(join(tmpdir(), 'edpo-trl-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));

/** Cases whose loss is no method of edpo, and why not. */
const OTHERS: Record<string, string> = {
  'cpo hinge': 'CPO’s paper has the logistic loss alone; a hinge on log-probs is slic_hf',
  'cpo ipo': 'CPO’s paper has the logistic loss alone',
};
/** Where TRL differs on purpose (losses.md 2.1): what it means, and which of its figures are not edpo’s. */
const DIFFERENT: Record<string, { why: string; not: string[] }> = {
  'sigmoid label_smoothing': { why: 'TRL since 0.29 ignores label_smoothing with sigmoid; edpo applies it, as TRL up to 0.28', not: ['loss', 'grad_norm', 'gradients'] },
  sft: { why: 'edpo sft reads the chosen responses alone, and TRL’s entropy is of both', not: ['entropy'] },
  ld_dpo: { why: 'TRL logs the weighted sums as logps, edpo the log-probs themselves', not: ['logps/chosen', 'logps/rejected'] },
  ...Object.fromEntries(['cpo simpo', 'simpo', 'simpo label_smoothing'].map((name) => [name, { why: 'TRL logs log-probs per token for SimPO, edpo their sums', not: ['logps/chosen', 'logps/rejected'] }])),
  orpo: { why: 'TRL logs log-probs per token for ORPO, edpo their sums', not: ['logps/chosen', 'logps/rejected'] },
  kto: { why: 'TRL’s mismatched response is the one before it in the batch, of split pairs the same prompt’s half the time; edpo’s is of the nearest earlier row of another prompt: another z. Where every prompt stands once the rules agree, and so do all figures: the case “kto every prompt once”', not: ['loss', 'grad_norm', 'kl', 'gradients'] },
  alphapo: { why: 'as for SimPO; and TRL logs AlphaPO’s transformed reward, edpo SimPO’s β ā, of which it is a monotone function', not: ['logps/chosen', 'logps/rejected', 'rewards/chosen', 'rewards/rejected', 'rewards/margins'] },
};

/** edpo’s keys for a case; the same names but where a trainer of TRL’s is a method of edpo’s. */
function keysOf(c: Case): Record<string, string> {
  const { loss_type, loss_weights, alpha, simpo_gamma, cpo_alpha, ...rest } = c.arguments;
  const flags: Record<string, unknown> = { ...rest };
  if (c.trainer === 'DPOTrainer') Object.assign(flags, { loss_type: (loss_type as string[]).join(','), ...(loss_weights ? { loss_weights: (loss_weights as number[]).join(',') } : {}) });
  else if (c.trainer === 'KTOTrainer') flags['loss_type'] = loss_type;
  else if (c.trainer === 'BCOTrainer') Object.assign(flags, { loss_type: 'bco', ...('min_density_ratio' in rest ? { prompt_embeddings: embeddingsOf(c.documents) } : {}) });
  else if (c.trainer === 'ORPOTrainer') flags['loss_type'] = 'orpo';
  else if (alpha !== undefined) Object.assign(flags, { loss_type: 'alphapo', alphapo_alpha: alpha, simpo_gamma });
  else if (loss_type === 'simpo') Object.assign(flags, { loss_type: cpo_alpha === 0 ? 'simpo' : 'cpo_simpo', simpo_gamma, ...(cpo_alpha === 0 ? {} : { cpo_alpha }) });
  else Object.assign(flags, { loss_type: 'cpo', cpo_alpha });
  return Object.fromEntries(Object.entries(flags).map(([k, v]) => [k, String(v)]));
}

/** The prompts' embeddings of make_bco.py, in a file; their ids are without the first token that the trainer puts before. */
function embeddingsOf(name: string): string {
  const path = join(dir, 'embeddings.ndjson');
  const prompts = golden.documents[name]!.map((r) => (r['prompt'] as number[]).slice(1));
  writeFileSync(path, prompts.map((p, id) => `${JSON.stringify({ id, embedding: [p.reduce((a, b) => a + b) / 64, p.length / 4, p[0]! / 16] })}\n`).join(''));
  return path;
}

/** The documents a trainer of TRL’s saw, as lines of token ids; KTO’s and BCO’s come from pairs where a prompt stands twice, which edpo splits as the golden’s data were split. */
function dataOf(name: string): object[] {
  const rows = golden.documents[name]!;
  if (name === 'single' || name === 'bco single') return rows.map((r) => ({ prompt_ids: r['prompt'], completion_ids: r['completion'], label: r['label'] }));
  const pairs = 'label' in rows[0]! ? rows.filter((r) => r['label']).map((r) => ({ prompt: r['prompt'], chosen: r['completion'], rejected: rows[rows.indexOf(r) + 1]!['completion'] })) : rows;
  return pairs.map((p) => ({ prompt_ids: p['prompt'], chosen_ids: p['chosen'], rejected_ids: p['rejected'] }));
}

const oneStep = await stepper(golden);

/** Metrics by the same name that mean something else in TRL, or that edpo has not. */
const UNLIKE = ['mean_token_accuracy', 'logits/chosen', 'logits/rejected', 'log_odds_ratio', 'log_odds_chosen', 'nll_loss'];
const missing: string[] = [];

t.test(`one optimiser step as TRL ${golden.versions['trl']} makes it, BCO as ${bco.versions['trl']} did: loss, metrics and gradients of every method they have`, async (t) => {
  for (const c of golden.cases) {
    if (OTHERS[c.name] !== undefined) {
      t.comment(`${c.name}: not in edpo: ${OTHERS[c.name]}`);
      continue;
    }
    const keys = keysOf(c);
    const lacks = [...keys['loss_type']!.split(',').filter((l) => !LOSS_NAMES.includes(l as never)), ...Object.keys(keys).filter((k) => !KEYS.includes(k as never))];
    if (lacks.length > 0) {
      missing.push(c.name);
      t.comment(`${c.name}: not yet in edpo (${lacks.join(', ')})`);
      continue;
    }
    const different = DIFFERENT[c.name];
    const { metrics, gradients } = await oneStep(c.name, dataOf(c.documents), golden.documents[c.documents]!.length, keys, /^(DPO|KTO|BCO)/.test(c.trainer));
    const compared = Object.keys(c.metrics).filter((k) => !UNLIKE.includes(k) && k in metrics);
    for (const k of ['loss', 'grad_norm']) t.ok(compared.includes(k), `${c.name}: ${k} is compared`);
    if (c.documents === 'single') t.ok(compared.includes('kl') && c.metrics['kl']! > 0.5, `${c.name}: z is compared, and above 0, where it would be cut`);
    const off = compared.filter((k) => !near(metrics[k]!, c.metrics[k]!));
    const worst = deviation(gradients, c.gradients);
    const wrong = [...off, ...(worst > 1e-4 ? ['gradients'] : [])];
    t.same(wrong.filter((k) => !different?.not.includes(k)), [], `${c.name}: ${wrong.map((k) => (k === 'gradients' ? `gradients off by ${worst}` : `${k} ${metrics[k]}, TRL ${c.metrics[k]}`)).join('; ') || `as TRL (gradients to ${worst.toExponential(1)})`}`);
    if (different) t.same(wrong.sort(), [...different.not].sort(), `${c.name}: ${different.why}`);
  }
  t.same(missing, [], 'no method of TRL’s is left out');
});
