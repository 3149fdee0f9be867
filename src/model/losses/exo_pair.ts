import { margin } from './sigmoid.js';
import { logSigmoid, sigmoid as σ, type LossDefinition } from './types.js';

/** EXO on pairs (Ji et al. 2024, arXiv 2402.00856): reverse KL between σ(βh) and the smoothed label; needs λ > 0 (the paper: 1e-3). */
export const exo_pair: LossDefinition = {
  name: 'exo_pair',
  title: 'EXO',
  citation: 'Ji et al. 2024, arXiv 2402.00856',
  formula: 'q log(q/(1-λ)) + (1-q) log((1-q)/λ), q = σ(βh)',
  needs: { branches: 2, reference: 'logps', scored: 'response', normalise: 'pairs' },
  adaptiveBeta: false,
  params: { label_smoothing: { default: 0.001, about: 'λ of the smoothed label; EXO needs it above 0 (the paper: 1e-3)' } },
  value: (d, p) => {
    const [x, λ] = [d.beta * margin(d), p['label_smoothing']!];
    return σ(x) * (logSigmoid(x) - Math.log(1 - λ)) + σ(-x) * (logSigmoid(-x) - Math.log(λ));
  },
  gradients: (d, p) => {
    const [x, λ] = [d.beta * margin(d), p['label_smoothing']!];
    const g = d.beta * σ(x) * σ(-x) * (x - Math.log((1 - λ) / λ));
    return { c: [g, -g], k: [0, 0] };
  },
  wgsl: `  let x = beta * ((w.logp - w.ref_logp) - (l.logp - l.ref_logp));
  let value = sigmoid(x) * (-softplus(-x) - log(1.0 - F_label_smoothing)) + sigmoid(-x) * (-softplus(x) - log(F_label_smoothing));
  let g = beta * sigmoid(x) * sigmoid(-x) * (x - log((1.0 - F_label_smoothing) / F_label_smoothing));
  return Loss(value, g, -g, 0.0, 0.0);`,
};
