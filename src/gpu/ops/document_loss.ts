import type { LossDefinition, LossSettings } from '../../model/losses/types.js';
import { perThread } from '../grid.js';
import { defineKernel } from '../kernel.js';
import { scalar, type Program } from '../program.js';
import type { Tensor } from '../tensor.js';
import type { GroupTensors } from './group_stats.js';
import { lossConstants } from './loss_constants.js';

/** Columns of the pair table, in order; 0 where the method's head did not compute one. */
export const PAIR_COLUMNS = [
  'policy_logps_chosen', 'policy_logps_rejected', 'ref_logps_chosen', 'ref_logps_rejected', 'margin', 'logratio',
  'delta_plus', 'delta_minus', 'epsilon_step', 'beta', 'loss', 'loss_dpo', 'reward_chosen', 'reward_rejected',
  'kl_policy_ref_chosen', 'kl_policy_ref_rejected', 'kl_ref_policy_chosen', 'kl_ref_policy_rejected',
  'entropy_chosen', 'entropy_rejected', 'tokens_chosen', 'tokens_rejected', 'score_held', 'column',
] as const;

const SIDE = {
  plain: 'return Side(seq_stats[q * 12u], seq_stats[q * 12u + 1u], tokens, seq_stats[q * 12u + 5u], tokens, tokens, 0.0, 0.0);',
  // The sums of TERMS: weighted log-probs and KLs, and what else a method asks for.
  terms: `let t = q * 8u;
  return Side(seq_terms[t], seq_terms[t + 1u], tokens, seq_terms[t + 2u], seq_terms[t + 3u], seq_terms[t + 4u], seq_terms[t + 5u], seq_terms[t + 6u]);`,
};
const LOAD = {
  plain: 'fn load_document(t: u32) {}',
  // Each document's place in its group, its label and its weight, and what the group's passes left.
  coupled: `var<private> member: u32;
var<private> document_weight: f32;
fn load_document(t: u32) {
  member = u32(doc_info[t * 4u]);
  desirable = doc_info[t * 4u + 1u];
  document_weight = doc_info[t * 4u + 3u];
}
fn own(k: u32) -> f32 { return group_own[member * 4u + k]; }
fn shared_of(k: u32) -> f32 { return method_state[8u + k]; }`,
};

/** One thread per document: pair β, loss, coefficients, ledger row. The loss's WGSL body is set in by `prelude`. */
const variant = (terms: boolean, coupled: boolean) => defineKernel({
  name: `document_loss${terms ? '_terms' : ''}${coupled ? '_group' : ''}`,
  shader: 'document_loss',
  read: { seq_stats: 'Q 12', ...(terms ? { seq_terms: 'Q 8' } : {}), seq_start: '_ :u32', beta_state: '4', ...(coupled ? { doc_info: 'P 4', group_own: 'G 4', method_state: '24' } : {}) },
  write: { coef: 'Q 2', pairs: 'P 24' },
  update: { step_counts: '4 :atomic<u32>' },
  args: { P: 'u32', stride: 'u32', training: 'u32', inv_count: 'f32', epsilon_size: 'f32', deadzone: 'f32', beta_start: 'f32', per_token: 'f32' },
  tune: { WG: 16, K: 2, PROMPT: 0, HIDDEN: 0, ADAPTIVE: 0, CRITERION: 0 },
  prelude: `fn side(q: u32) -> Side {
  let tokens = f32(seq_start[q + 1u] - seq_start[q]);
  ${terms ? SIDE.terms : SIDE.plain}
}
${coupled ? LOAD.coupled : LOAD.plain}`,
  grid: ({ P, WG }) => perThread(P!, WG!),
});

/** By what the loss looks at beside plain sums. */
const kernels = { plain: variant(false, false), terms: variant(true, false), coupled: variant(false, true), both: variant(true, true) };

/** Sequences of a document: as many as the loss has branches, and where it scores prompts or mismatched responses more, the same number for all of a micro-batch. */
const wide = (loss: LossDefinition): boolean => loss.needs.scored === 'all' || loss.group?.of === 'mismatched';
/** Does the loss look at more of a document than its own sums? */
export const isCoupled = (loss: LossDefinition): boolean => loss.group !== undefined || loss.needs.unpaired === true;

const CRITERIA = { exact: 0, deadzone: 1, 'bf16-trl': 2 } as const;

/**
 * Dynamic scalars of a replay: `invCount` (1 / pairs or tokens of the optimiser step), `perToken` (its pairs / chosen tokens), `training` (1: count ε-steps).
 * `stride`: sequences of a document, where that is not the loss's number of branches.
 * @param hidden the head computed the ε-columns. `vocab`: V. `t.seqTerms` [Q, 8]: where the loss has token terms; `t.group`: where it is coupled.
 */
export function documentLoss(
  p: Program,
  t: { seqStats: Tensor; seqTerms?: Tensor | undefined; seqStart: Tensor; betaState: Tensor; coef: Tensor; pairs: Tensor; stepCounts: Tensor; group?: GroupTensors | undefined },
  o: { loss: LossDefinition; settings: LossSettings; hidden: boolean; vocab?: number },
): void {
  const { loss, settings } = o;
  const reward = `fn reward_of(s: Side, beta: f32) -> f32 { return ${loss.reward?.wgsl ?? 'beta * (s.logp - s.ref_logp)'}; }`;
  const body = `fn loss_document(w: Side, l: Side, beta: f32) -> Loss {\n${loss.wgsl}\n}`;
  const coupled = t.group ? { doc_info: t.group.docInfo, group_own: t.group.own, method_state: t.group.state } : undefined;
  p.run(
    kernels[t.seqTerms ? (coupled ? 'both' : 'terms') : coupled ? 'coupled' : 'plain'],
    { ...coupled, ...(t.seqTerms ? { seq_terms: t.seqTerms } : {}), seq_stats: t.seqStats, seq_start: t.seqStart, beta_state: t.betaState, coef: t.coef, pairs: t.pairs, step_counts: t.stepCounts },
    {
      stride: wide(loss) ? scalar('stride') : loss.needs.branches, training: scalar('training'), inv_count: scalar('invCount'), per_token: scalar('perToken'), epsilon_size: settings.epsilonSize,
      deadzone: settings.criterion === 'deadzone' ? settings.deadzone : 0, beta_start: settings.beta,
    },
    {
      tune: { K: loss.needs.branches, PROMPT: loss.needs.scored === 'all' ? 1 : 0, HIDDEN: o.hidden ? 1 : 0, ADAPTIVE: loss.adaptiveBeta ? 1 : 0, CRITERION: CRITERIA[settings.criterion] },
      prelude: [...lossConstants(loss, settings), `const LOG_VOCAB = f32(${Math.log(o.vocab ?? 2)});`, reward, loss.functions ?? '', `const COLUMN = ${loss.column ? (loss.column.name === 'beta' ? 9 : 23) : 99}u;`, body].join('\n'),
    },
  );
}
