import { DIVERGENCES, divergence, type Divergence } from './divergence.js';
import { DESENSITISED, lengthDesensitised } from './ld.js';
import { AVERAGED, lengthAverage } from './length_average.js';
import { weightedByPolicy } from './wpo.js';
import { losses, type LossName } from '../index.js';
import type { DocumentScalars, LossDefinition, LossNeeds } from '../types.js';

/** What a run's loss is made of; the keys of a configuration. */
export interface Composition {
  loss_type: LossName | LossName[];
  loss_weights?: number[] | undefined;
  rpo_alpha: number;
  f_divergence_type: Divergence;
  f_alpha_divergence_coef: number;
  length_average?: boolean;
  /** LD-DPO's α; absent or 1: none. */
  ld_alpha?: number | undefined;
  /** WPO. */
  use_weighting?: boolean;
}

export const lossNames = (c: Pick<Composition, 'loss_type'>): LossName[] => (Array.isArray(c.loss_type) ? c.loss_type : [c.loss_type]);

/** Why a loss takes no others beside it. */
const aloneBecause = (loss: LossDefinition): string | undefined =>
  loss.needs.unpaired ? 'is of single responses' : loss.group ? 'has statistics over a group' : loss.needs.scored === 'all' ? 'scores prompts' : undefined;
const ownWeight = (loss: LossDefinition): string => {
  const keys = Object.keys(loss.params).filter((k) => /alpha|lambda/.test(k));
  return keys.length > 0 ? ` (${keys.join(', ')})` : '';
};

interface Part {
  loss: LossDefinition;
  weight: number;
}

/** A loss of the folder as the run's keys make it. */
const resolved = (name: LossName, c: Composition): LossDefinition => {
  const loss: LossDefinition = losses[name];
  if (!loss.resolve) return loss;
  const defaults = Object.fromEntries([...Object.entries(loss.params), ...Object.entries(loss.options ?? {})].map(([key, { default: value }]) => [key, value]));
  return loss.resolve({ ...defaults, ...Object.fromEntries(Object.entries(c).filter(([, v]) => v !== undefined)) });
};

const STRENGTH: Record<LossNeeds['reference'], number> = { none: 0, logps: 1, hidden: 2 };

/** Why these do not compose, with the key it lies at; undefined where they do. */
export function compositionProblem(c: Composition): { key: keyof Composition; what: string } | undefined {
  const names = lossNames(c);
  const weights = c.loss_weights;
  if (weights !== undefined && weights.length !== names.length) return { key: 'loss_weights', what: `has ${weights.length} numbers for ${names.length} losses (${names.join(', ')})` };
  if (new Set(names).size < names.length) return { key: 'loss_type', what: `names a loss twice: ${names.join(', ')}` };
  if (names.length > 1) {
    if (names.includes('epsilon_dpo')) return { key: 'loss_type', what: 'epsilon_dpo gives each pair a β of its own, and the other losses of a mixture have none; epsilon_dpo with rpo_alpha is its form with an NLL term' };
    const alone = names.find((n) => aloneBecause(losses[n]));
    if (alone) return { key: 'loss_type', what: `${alone} ${aloneBecause(losses[alone])!}, so it cannot be part of a mixture` };
    if (names.every((n) => n === 'sft')) return { key: 'loss_type', what: 'sft alone is the command edpo sft' };
  }
  if (c.rpo_alpha > 0 && names.includes('sft')) return { key: 'rpo_alpha', what: 'is the weight of the same NLL term that sft in loss_type is; give one of the two' };
  const single = names.find((n) => losses[n].needs.branches === 1 && n !== 'sft');
  if (c.rpo_alpha > 0 && single) return { key: 'rpo_alpha', what: `is the weight of the chosen response’s likelihood, and ${single} has single responses` };
  const nll = names.filter((n) => n === 'orpo' || 'cpo_alpha' in losses[n].params || n === 'slic_hf' || n === 'rrhf');
  if (c.rpo_alpha > 0 && nll.length > 0) return { key: 'rpo_alpha', what: `${nll.join(', ')} has an NLL term of its own${ownWeight(losses[nll[0]!])}` };
  if (c.f_divergence_type !== 'reverse_kl') {
    const odd = names.filter((n) => n !== 'sft' && !DIVERGENCES.losses.includes(n));
    if (odd.length > 0) return { key: 'f_divergence_type', what: `${c.f_divergence_type} is defined for ${DIVERGENCES.losses.join(', ')}; not for ${odd.join(', ')}` };
    if (c.f_divergence_type === 'alpha_divergence' && c.f_alpha_divergence_coef === 1) return { key: 'f_alpha_divergence_coef', what: 'must not be 1 (that limit is reverse_kl)' };
  }
  return modifierProblem(c, names);
}

/** Methods of groups of pairs, which a weight for each pair would change. */
const GROUPED: readonly string[] = ['aot', 'aot_unpaired', 'beta_dpo'];

function modifierProblem(c: Composition, names: LossName[]): { key: keyof Composition; what: string } | undefined {
  const parts = names.filter((n) => n !== 'sft');
  const nll = c.rpo_alpha > 0 ? 'rpo_alpha' : names.includes('sft') ? 'sft' : undefined;
  const weighted = parts.find((n) => resolved(n, c).needs.tokenWeights);
  if (weighted && parts.length > 1) return { key: 'loss_type', what: `${weighted} gives tokens weights of its own, which the other losses of a mixture have not` };
  if (weighted && nll) return { key: nll === 'sft' ? 'loss_type' : nll, what: `the NLL is over all tokens of a response, and ${weighted} gives them weights` };
  if (c.length_average) {
    const odd = parts.filter((n) => !AVERAGED.includes(n));
    if (odd.length > 0) return { key: 'length_average', what: `is defined for ${AVERAGED.join(', ')}; ${odd.join(', ')} ${odd.some((n) => /ipo|simpo|norm|alphapo|orpo|rrhf|rainbow/.test(n)) ? 'has averages of its own' : 'is not a loss of two sums alone'}` };
    if (nll) return { key: 'length_average', what: `turns sums into means, and the NLL term (${nll}) is a sum of its own; give one of the two` };
  }
  if (c.ld_alpha !== undefined && c.ld_alpha !== 1) {
    const odd = parts.filter((n) => !DESENSITISED.includes(n));
    if (odd.length > 0) return { key: 'ld_alpha', what: `is defined for ${DESENSITISED.join(', ')}; not for ${odd.join(', ')}${odd.includes('epsilon_dpo') ? ' (the ε-criterion is about whole responses)' : ''}` };
    if (nll) return { key: 'ld_alpha', what: `weights tokens by their place, and the NLL (${nll}) is over all of them; give one of the two` };
    if (c.length_average) return { key: 'ld_alpha', what: 'and length_average both take the length out; give one of the two' };
  }
  if (c.use_weighting) {
    const odd = parts.filter((n) => GROUPED.includes(n) || resolved(n, c).needs.branches !== 2);
    if (odd.length > 0 || parts.length === 0) return { key: 'use_weighting', what: `weights pairs (WPO); ${odd.join(', ') || 'sft'} ${odd.some((n) => GROUPED.includes(n)) ? 'couples the pairs of a group' : 'has none'}` };
  }
  return undefined;
}

const nllTerm = (d: DocumentScalars): number => -d.a * d.perToken;

/**
 * The loss of a run: one of the folder, or several with weights (MPO, Wang et al. 2024, arXiv 2411.10442), under an f-divergence, with the chosen
 * response's negative log-likelihood added (RPO, Pang et al. 2024, arXiv 2404.19733; losses.md 2.3). In a mixture `sft` is that likelihood, a mean
 * over the chosen tokens of the optimiser step. Call `compositionProblem` before.
 */
export function composeLoss(c: Composition): LossDefinition {
  const names = lossNames(c);
  if (names.length === 1 && names[0] === 'sft') return losses.sft;
  const weightOf = (i: number): number => c.loss_weights?.[i] ?? 1;
  const nll = c.rpo_alpha + names.reduce((sum, n, i) => sum + (n === 'sft' ? weightOf(i) : 0), 0);
  const parts: Part[] = names.flatMap((n, i) => (n === 'sft' ? [] : [{ loss: modified(n, c), weight: weightOf(i) }]));
  if (parts.length === 1 && parts[0]!.weight === 1 && nll === 0) return parts[0]!.loss;
  return mixture(parts, nll);
}

/** One loss under the run's modifiers. WPO's weight is on the preference loss, not on an NLL beside it. */
function modified(name: LossName, c: Composition): LossDefinition {
  let loss = resolved(name, c);
  if (c.f_divergence_type !== 'reverse_kl') loss = divergence(loss, c.f_divergence_type, c.f_alpha_divergence_coef);
  if (c.length_average) loss = lengthAverage(loss);
  if (c.ld_alpha !== undefined && c.ld_alpha !== 1) loss = lengthDesensitised(loss, c.ld_alpha);
  if (c.use_weighting) loss = weightedByPolicy(loss);
  if (loss.list && loss !== losses[name]) {
    // A modifier is for pairs.
    const { list: _, ...pairs } = loss;
    return pairs;
  }
  return loss;
}

function mixture(parts: Part[], nll: number): LossDefinition {
  const first = parts[0]!.loss;
  const strongest = parts.map((p) => p.loss.needs.reference).reduce((a, b) => (STRENGTH[b] > STRENGTH[a] ? b : a));
  const kl = parts.flatMap((p) => p.loss.needs.klGradient ?? []);
  const total = (d: DocumentScalars, f: (loss: LossDefinition) => number): number => parts.reduce((sum, p) => sum + p.weight * f(p.loss), 0);
  const terms = parts.map((p, i) => ({ weight: `f32(${p.weight})`, call: `loss_${i}(w, l, beta)` }));
  const sum = (field: string): string => terms.map((_, i) => `${terms[i]!.weight} * r${i}.${field}`).join(' + ');
  return {
    name: [...parts.map((p) => (p.weight === 1 ? p.loss.name : `${p.weight} ${p.loss.name}`)), ...(nll > 0 ? [`${nll === 1 ? '' : `${nll} `}nll`] : [])].join(' + '),
    title: [...parts.map((p) => p.loss.title), ...(nll > 0 ? ['NLL'] : [])].join(' + '),
    citation: parts.map((p) => p.loss.citation).join('; '),
    formula: [...parts.map((p) => `${p.weight === 1 ? '' : `${p.weight}·`}[${p.loss.formula}]`), ...(nll > 0 ? [`${nll}·NLL(chosen)`] : [])].join(' + '),
    needs: {
      ...first.needs, reference: strongest, ...(kl.length > 0 ? { klGradient: kl.includes('both') ? 'both' : 'rejected' } : {}),
      ...(parts.some((p) => p.loss.needs.sharpness) ? { sharpness: true } : {}), ...(parts.some((p) => p.loss.needs.refEntropy) ? { refEntropy: true } : {}),
    },
    adaptiveBeta: parts.some((p) => p.loss.adaptiveBeta),
    ...(first.group ? { group: first.group } : {}),
    ...(first.column ? { column: first.column } : {}),
    params: Object.assign({}, ...parts.map((p) => p.loss.params)) as LossDefinition['params'],
    value: (d, p) => total(d, (loss) => loss.value(d, p)) + nll * nllTerm(d),
    gradients: (d, p) => {
      const g = parts.map((x) => ({ weight: x.weight, ...x.loss.gradients(d, p) }));
      const at = (kind: 'c' | 'k', side: 0 | 1): number => g.reduce((s, x) => s + x.weight * x[kind][side], 0);
      return { c: [at('c', 0) - nll * d.perToken, at('c', 1)], k: [at('k', 0), at('k', 1)] };
    },
    ...(parts.some((p) => p.loss.holdsScores) ? { holdsScores: true } : {}),
    ...(first.reward && strongest === 'none' ? { reward: first.reward } : {}),
    functions: parts.map((p, i) => `${renamed(p.loss.functions ?? '', i)}\nfn loss_${i}(w: Side, l: Side, beta: f32) -> Loss {\n${renamed(p.loss.wgsl, i)}\n}`).join('\n'),
    wgsl: `${terms.map((x, i) => `  let r${i} = ${x.call};`).join('\n')}
  let nll = f32(${nll}) * args.per_token;
  return Loss(${sum('value')} - nll * w.logp, ${sum('cw')} - nll, ${sum('cl')}, ${sum('kw')}, ${sum('kl')});`,
  };
}

/** Helpers of one part must not meet another part's of the same name. */
const renamed = (text: string, i: number): string => text.replace(/\b(inner|score|score_slope|summed|unweighted)\b(?=\()/g, `$1_${i}`);
