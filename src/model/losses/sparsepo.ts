import { logSigmoid, sigmoid as σ, type DocumentScalars, type LossDefinition, type TokenWeights } from './types.js';

const x = (d: DocumentScalars): number => d.beta * (d.a - d.aRef + d.klChosen - (d.b - d.bRef + d.klRejected));

const masked = (tokenWeights: TokenWeights): LossDefinition => ({
  name: 'sparsepo',
  title: 'SparsePO',
  citation: 'Christopoulou et al. 2024, arXiv 2410.05102',
  semantics: 'the official code',
  formula: '-log σ(β{Σ_w [m_u d_t + m_d KL_t] - Σ_l [m_u d_t + m_d KL_t]}), d_t log-ratios, KL_t = KL(ref‖policy), m masks in [0, 1]',
  needs: { branches: 2, reference: 'hidden', scored: 'response', normalise: 'pairs', klGradient: 'both', tokenWeights },
  adaptiveBeta: false,
  params: {},
  value: (d) => -logSigmoid(x(d)),
  gradients: (d) => {
    const g = -d.beta * σ(-x(d));
    return { c: [g, -g], k: [g, -g] };
  },
  wgsl: `  let x = beta * (((w.logp - w.ref_logp) + w.kl) - ((l.logp - l.ref_logp) + l.kl));
  let g = -beta * sigmoid(-x);
  return Loss(softplus(-x), g, -g, g, -g);`,
});

/**
 * SparsePO (Christopoulou et al. 2024, arXiv 2410.05102): TDPO1 whose log-ratios and KLs are weighted token by token. The mask is MaPO's, of the live reference's
 * activations, the same for both and constant (`token_mask.ts`); a mask of ones is TDPO1. The paper's β: 0.8 (IMDB, TL;DR), 0.1 (HH).
 */
export const sparsepo = masked({ from: 'mapo' });
