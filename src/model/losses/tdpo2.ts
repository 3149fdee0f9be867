import { margin } from './sigmoid.js';
import { logSigmoid, sigmoid as σ, type DocumentScalars, type LossDefinition } from './types.js';

const x = (d: DocumentScalars, p: Record<string, number>): number => d.beta * (margin(d) - p['tdpo_alpha']! * (d.klRejected - d.klChosen));

/** TDPO2 (Zeng et al. 2024, arXiv 2404.11999): as TDPO1 with weight α, and no gradient through the chosen response’s KL. */
export const tdpo2: LossDefinition = {
  name: 'tdpo2',
  title: 'TDPO2',
  citation: 'Zeng et al. 2024, arXiv 2404.11999',
  formula: '-log σ(β(h - α(K_l - sg[K_w]))), K = Σ KL(ref‖policy)',
  semantics: 'the official code',
  needs: { branches: 2, reference: 'hidden', scored: 'response', normalise: 'pairs', klGradient: 'rejected' },
  adaptiveBeta: false,
  params: { tdpo_alpha: { default: 0.5, about: 'α of TDPO2, weight of the difference of sequence KLs' } },
  value: (d, p) => -logSigmoid(x(d, p)),
  gradients: (d, p) => {
    const g = -d.beta * σ(-x(d, p));
    return { c: [g, -g], k: [0, -p['tdpo_alpha']! * g] };
  },
  wgsl: `  let x = beta * ((w.logp - w.ref_logp) - (l.logp - l.ref_logp) - F_tdpo_alpha * (l.kl - w.kl));
  let g = -beta * sigmoid(-x);
  return Loss(softplus(-x), g, -g, 0.0, -F_tdpo_alpha * g);`,
};
