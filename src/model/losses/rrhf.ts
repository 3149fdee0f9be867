import type { LossDefinition } from './types.js';

/** RRHF on pairs (Yuan et al. 2023, arXiv 2304.05302): ranks average log-probs, and fits the chosen response. */
export const rrhf: LossDefinition = {
  name: 'rrhf',
  title: 'RRHF',
  citation: 'Yuan et al. 2023, arXiv 2304.05302, for two responses',
  formula: 'max(0, b/n_l - a/n_w) - λa',
  semantics: 'the paper, for two responses',
  needs: { branches: 2, reference: 'none', scored: 'response', normalise: 'pairs' },
  adaptiveBeta: false,
  params: { rrhf_lambda: { default: 1, about: 'λ, weight of RRHF’s likelihood term' } },
  value: (d, p) => Math.max(0, d.b / d.tokensRejected - d.a / d.tokensChosen) - p['rrhf_lambda']! * d.a,
  gradients: (d, p) => {
    const wrong = d.b / d.tokensRejected > d.a / d.tokensChosen ? 1 : 0;
    return { c: [-wrong / d.tokensChosen - p['rrhf_lambda']!, wrong / d.tokensRejected], k: [0, 0] };
  },
  reward: { value: (logp, _ref, tokens) => logp / tokens, wgsl: 's.logp / s.tokens' },
  wgsl: `  let gap = l.logp / l.tokens - w.logp / w.tokens;
  let wrong = select(0.0, 1.0, gap > 0.0);
  return Loss(max(0.0, gap) - F_rrhf_lambda * w.logp, -wrong / w.tokens - F_rrhf_lambda, wrong / l.tokens, 0.0, 0.0);`,
};
