import { margin } from './sigmoid.js';
import { logSigmoid, sigmoid as σ, type DocumentScalars, type LossDefinition } from './types.js';

const x = (d: DocumentScalars, p: Record<string, number>): number => d.beta * margin(d) + p['rdpo_alpha']! * (d.tokensChosen - d.tokensRejected);

/** R-DPO (Park et al. 2024, arXiv 2403.19159): DPO for a reward less α per token, so that length alone earns nothing. */
export const r_dpo: LossDefinition = {
  name: 'r_dpo',
  title: 'R-DPO',
  citation: 'Park et al. 2024, arXiv 2403.19159',
  formula: '-log σ(βh + α(n_w - n_l))',
  semantics: 'the paper',
  needs: { branches: 2, reference: 'logps', scored: 'response', normalise: 'pairs' },
  adaptiveBeta: false,
  params: { rdpo_alpha: { default: 0.05, about: 'α of R-DPO, per token of difference in length' } },
  value: (d, p) => -logSigmoid(x(d, p)),
  gradients: (d, p) => {
    const g = -d.beta * σ(-x(d, p));
    return { c: [g, -g], k: [0, 0] };
  },
  wgsl: `  let x = beta * ((w.logp - w.ref_logp) - (l.logp - l.ref_logp)) + F_rdpo_alpha * (w.tokens - l.tokens);
  let g = -beta * sigmoid(-x);
  return Loss(softplus(-x), g, -g, 0.0, 0.0);`,
};
