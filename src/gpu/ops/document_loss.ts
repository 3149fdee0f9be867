import type { LossDefinition, LossSettings } from '../../model/losses/types.js';
import { perThread } from '../grid.js';
import { defineKernel } from '../kernel.js';
import { scalar, type Program } from '../program.js';
import type { Tensor } from '../tensor.js';

/** Columns of the pair table, in order; 0 where the method's head did not compute one. */
export const PAIR_COLUMNS = [
  'policy_logps_chosen', 'policy_logps_rejected', 'ref_logps_chosen', 'ref_logps_rejected', 'margin', 'logratio',
  'delta_plus', 'delta_minus', 'epsilon_step', 'beta', 'loss', 'loss_dpo', 'reward_chosen', 'reward_rejected',
  'kl_policy_ref_chosen', 'kl_policy_ref_rejected', 'kl_ref_policy_chosen', 'kl_ref_policy_rejected',
  'entropy_chosen', 'entropy_rejected', 'tokens_chosen', 'tokens_rejected', 'score_held', 'unused',
] as const;

/** One thread per document: pair β, loss, coefficients, ledger row. The loss's WGSL body is set in by `prelude`. */
const variant = (name: string, read: Record<string, string>, side: string) => defineKernel({
  name,
  shader: 'document_loss',
  read: { seq_stats: 'Q 12', seq_start: '_ :u32', beta_state: '4', ...read },
  write: { coef: 'Q 2', pairs: 'P 24' },
  update: { step_counts: '4 :atomic<u32>' },
  args: { P: 'u32', training: 'u32', inv_count: 'f32', epsilon_size: 'f32', deadzone: 'f32', beta_start: 'f32', per_token: 'f32' },
  tune: { WG: 16, K: 2, HIDDEN: 0, ADAPTIVE: 0, CRITERION: 0 },
  prelude: `fn side(q: u32) -> Side {
  let tokens = f32(seq_start[q + 1u] - seq_start[q]);
  ${side}
}`,
  grid: ({ P, WG }) => perThread(P!, WG!),
});

export const kernel = variant('document_loss', {}, 'return Side(seq_stats[q * 12u], seq_stats[q * 12u + 1u], tokens, seq_stats[q * 12u + 5u], tokens, tokens, 0.0, 0.0);');
/** With the sums of TERMS: weighted log-probs and KLs, and what else a method asks for. */
export const kernelWithTerms = variant('document_loss_terms', { seq_terms: 'Q 8' }, `let t = q * 8u;
  return Side(seq_terms[t], seq_terms[t + 1u], tokens, seq_terms[t + 2u], seq_terms[t + 3u], seq_terms[t + 4u], seq_terms[t + 5u], seq_terms[t + 6u]);`);

const CRITERIA = { exact: 0, deadzone: 1, 'bf16-trl': 2 } as const;

/**
 * Dynamic scalars of a replay: `invCount` (1 / pairs or tokens of the optimiser step), `perToken` (its pairs / chosen tokens), `training` (1: count ε-steps).
 * @param hidden the head computed the ε-columns. `vocab`: V. `t.seqTerms` [Q, 8]: where the loss has token terms.
 */
export function documentLoss(
  p: Program,
  t: { seqStats: Tensor; seqTerms?: Tensor | undefined; seqStart: Tensor; betaState: Tensor; coef: Tensor; pairs: Tensor; stepCounts: Tensor },
  o: { loss: LossDefinition; settings: LossSettings; hidden: boolean; vocab?: number },
): void {
  const { loss, settings } = o;
  const constants = Object.keys(loss.params).map((key) => `const F_${key} = f32(${settings.params[key] ?? loss.params[key]!.default});`);
  const reward = `fn reward_of(s: Side, beta: f32) -> f32 { return ${loss.reward?.wgsl ?? 'beta * (s.logp - s.ref_logp)'}; }`;
  const body = `fn loss_document(w: Side, l: Side, beta: f32) -> Loss {\n${loss.wgsl}\n}`;
  p.run(
    t.seqTerms ? kernelWithTerms : kernel,
    { seq_stats: t.seqStats, ...(t.seqTerms ? { seq_terms: t.seqTerms } : {}), seq_start: t.seqStart, beta_state: t.betaState, coef: t.coef, pairs: t.pairs, step_counts: t.stepCounts },
    {
      training: scalar('training'), inv_count: scalar('invCount'), per_token: scalar('perToken'), epsilon_size: settings.epsilonSize,
      deadzone: settings.criterion === 'deadzone' ? settings.deadzone : 0, beta_start: settings.beta,
    },
    {
      tune: { K: loss.needs.branches, HIDDEN: o.hidden ? 1 : 0, ADAPTIVE: loss.adaptiveBeta ? 1 : 0, CRITERION: CRITERIA[settings.criterion] },
      prelude: [...constants, `const LOG_VOCAB = f32(${Math.log(o.vocab ?? 2)});`, reward, loss.functions ?? '', body].join('\n'),
    },
  );
}
