import { margin } from './sigmoid.js';
import { logSigmoid, sigmoid as σ, type DocumentScalars, type LossDefinition } from './types.js';

const x = (d: DocumentScalars): number => d.beta * (margin(d) - (d.klRejected - d.klChosen));

/** TDPO1 (Zeng et al. 2024, arXiv 2404.11999): DPO on token level, with the difference of the responses’ sequence KLs. */
export const tdpo1: LossDefinition = {
  name: 'tdpo1',
  title: 'TDPO1',
  citation: 'Zeng et al. 2024, arXiv 2404.11999',
  formula: '-log σ(β(h - (K_l - K_w))), K = Σ KL(ref‖policy)',
  semantics: 'the official code',
  needs: { branches: 2, reference: 'hidden', scored: 'response', normalise: 'pairs', klGradient: 'both' },
  adaptiveBeta: false,
  params: {},
  value: (d) => -logSigmoid(x(d)),
  gradients: (d) => {
    const g = -d.beta * σ(-x(d));
    return { c: [g, -g], k: [g, -g] };
  },
  wgsl: `  let x = beta * ((w.logp - w.ref_logp) - (l.logp - l.ref_logp) - (l.kl - w.kl));
  let g = -beta * sigmoid(-x);
  return Loss(softplus(-x), g, -g, g, -g);`,
};
