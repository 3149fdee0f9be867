import { margin } from './sigmoid.js';
import { logSigmoid, sigmoid as σ, type LossDefinition } from './types.js';

/** DiscoPOP (Lu et al. 2024, arXiv 2406.08414): logistic and exponential loss mixed by m = σ(x/τ), a loss a language model found. */
export const discopop: LossDefinition = {
  name: 'discopop',
  title: 'DiscoPOP',
  citation: 'Lu et al. 2024, arXiv 2406.08414, log-ratio modulated loss',
  formula: '(1-m) softplus(-x) + m e^-x, x = βh, m = σ(x/τ)',
  needs: { branches: 2, reference: 'logps', scored: 'response', normalise: 'pairs' },
  adaptiveBeta: false,
  params: { discopop_tau: { default: 0.05, about: 'τ, temperature of the mixture of DiscoPOP' } },
  value: (d, p) => {
    const [x, τ] = [d.beta * margin(d), p['discopop_tau']!];
    // m e^-x as one exponential: for x far below 0 the factors would be 0 and infinity.
    return -σ(-x / τ) * logSigmoid(x) + Math.exp(logSigmoid(x / τ) - x);
  },
  gradients: (d, p) => {
    const [x, τ] = [d.beta * margin(d), p['discopop_tau']!];
    const m = σ(x / τ);
    const rest = σ(-x / τ);
    const exponential = Math.exp(logSigmoid(x / τ) - x);
    const g = d.beta * ((rest / τ) * (exponential + m * logSigmoid(x)) - rest * σ(-x) - exponential);
    return { c: [g, -g], k: [0, 0] };
  },
  wgsl: `  let x = beta * ((w.logp - w.ref_logp) - (l.logp - l.ref_logp));
  let m = sigmoid(x / F_discopop_tau);
  let rest = sigmoid(-x / F_discopop_tau);
  let exponential = exp(-softplus(-x / F_discopop_tau) - x);
  let value = rest * softplus(-x) + exponential;
  let g = beta * ((rest / F_discopop_tau) * (exponential - m * softplus(-x)) - rest * sigmoid(-x) - exponential);
  return Loss(value, g, -g, 0.0, 0.0);`,
};
