import { averagedMargin } from './sigmoid_norm.js';
import type { LossDefinition } from './types.js';

/** IPO (Azar et al. 2023, arXiv 2310.12036, Eq. 17) on length-averaged log-ratios, as TRL has it; β is the paper's τ. */
export const ipo: LossDefinition = {
  name: 'ipo',
  title: 'IPO',
  citation: 'Azar et al. 2023, arXiv 2310.12036, Eq. 17; averages over tokens as in TRL',
  formula: '(u/n_w - v/n_l - 1/(2β))²',
  needs: { branches: 2, reference: 'logps', scored: 'response', normalise: 'pairs' },
  adaptiveBeta: false,
  params: {},
  value: (d) => (averagedMargin(d) - 1 / (2 * d.beta)) ** 2,
  gradients: (d) => {
    const e = averagedMargin(d) - 1 / (2 * d.beta);
    return { c: [(2 * e) / d.tokensChosen, (-2 * e) / d.tokensRejected], k: [0, 0] };
  },
  wgsl: `  let e = (w.logp - w.ref_logp) / w.tokens - (l.logp - l.ref_logp) / l.tokens - 1.0 / (2.0 * beta);
  return Loss(e * e, 2.0 * e / w.tokens, -2.0 * e / l.tokens, 0.0, 0.0);`,
};
