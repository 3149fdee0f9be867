import { logSigmoid, sigmoid as σ, type DocumentScalars, type LossDefinition, type TokenWeights } from './types.js';

const x = (d: DocumentScalars): number => d.beta * (d.a - d.aRef + d.klChosen - (d.b - d.bRef + d.klRejected));

/** λ of Σ m_u and of Σ m_d over both responses; a mask that is both takes half of each. */
export function maskPenalty(kind: 'common' | 'independent', p: Record<string, number>): [number, number] {
  const share = kind === 'common' ? 0.5 : 1;
  return [share * (p['sparsepo_l1'] ?? 0), share * (p['sparsepo_l1_kl'] ?? 0)];
}

function penalty(d: DocumentScalars, kind: 'common' | 'independent', p: Record<string, number>): number {
  const [u, k] = maskPenalty(kind, p);
  const { chosen, rejected } = d.terms!;
  return u * (chosen.weight + rejected.weight) + k * (chosen.klWeight + rejected.klWeight);
}

function masked(tokenWeights: TokenWeights): LossDefinition {
  const kind = tokenWeights.from === 'learned' ? tokenWeights.kind : undefined;
  const share = kind === 'common' ? '0.5 * ' : '';
  return {
    name: 'sparsepo',
    title: 'SparsePO',
    citation: 'Christopoulou et al. 2024, arXiv 2410.05102',
    semantics: `the official code${kind ? ', but for the start and the decay of a mask (docs/token-weights.md)' : ''}`,
    formula: `-log σ(β{Σ_w [m_u d_t + m_d KL_t] - Σ_l [m_u d_t + m_d KL_t]})${kind ? ' + λ_u Σ m_u + λ_d Σ m_d' : ''}, d_t log-ratios, KL_t = KL(ref‖policy), m masks ${kind ? 'learned with the policy, from 0 on' : 'in [0, 1]'}`,
    needs: { branches: 2, reference: 'hidden', scored: 'response', normalise: 'pairs', klGradient: 'both', tokenWeights },
    adaptiveBeta: false,
    params: {
      sparsepo_l1: { default: 0, about: 'λ_u: penalty on the learned mask of log-ratios, per token' },
      sparsepo_l1_kl: { default: 0, about: 'λ_d: penalty on the learned mask of KLs, per token' },
      sparsepo_dropout: { default: 0.01, about: 'dropout inside the learned mask' },
    },
    options: { sparsepo_mask: { default: 'mapo', about: 'mapo: of the reference’s activations, constant; common: one learned mask; independent: one for log-ratios, one for KLs' } },
    resolve: ({ sparsepo_mask: of }) => masked(of === 'common' || of === 'independent' ? { from: 'learned', kind: of } : { from: 'mapo' }),
    value: (d, p) => -logSigmoid(x(d)) + (kind ? penalty(d, kind, p) : 0),
    gradients: (d) => {
      const g = -d.beta * σ(-x(d));
      return { c: [g, -g], k: [g, -g] };
    },
    ...(kind ? { column: { name: 'mask_mean', value: (d: DocumentScalars) => (d.terms!.chosen.weight + d.terms!.rejected.weight) / (d.tokensChosen + d.tokensRejected) } } : {}),
    wgsl: `  let x = beta * (((w.logp - w.ref_logp) + w.kl) - ((l.logp - l.ref_logp) + l.kl));
  let g = -beta * sigmoid(-x);
${kind ? `  column = (w.weight + l.weight) / (w.tokens + l.tokens);
  let penalty = ${share}F_sparsepo_l1 * (w.weight + l.weight) + ${share}F_sparsepo_l1_kl * (w.kl_weight + l.kl_weight);
  return Loss(softplus(-x) + penalty, g, -g, g, -g);` : '  return Loss(softplus(-x), g, -g, g, -g);'}`,
  };
}

/**
 * SparsePO (Christopoulou et al. 2024, arXiv 2410.05102): TDPO1 whose log-ratios and KLs are weighted token by token. The mask is MaPO's, of the live reference's
 * activations, the same for both and constant (`token_mask.ts`), or learned beside the policy from the reference's states (`learned_mask.ts`); a mask of ones is
 * TDPO1. The paper's β: 0.8 (IMDB, TL;DR), 0.1 (HH).
 */
export const sparsepo = masked({ from: 'mapo' });
