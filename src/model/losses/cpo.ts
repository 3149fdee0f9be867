import { logSigmoid, sigmoid as σ, type LossDefinition } from './types.js';

/**
 * CPO (Xu et al. 2024, arXiv 2401.08417): DPO against a uniform reference, and the chosen response's negative log-likelihood, a mean over
 * the tokens of the optimiser step (so that neither packing nor the split into micro-batches changes it).
 */
export const cpo: LossDefinition = {
  name: 'cpo',
  title: 'CPO',
  citation: 'Xu et al. 2024, arXiv 2401.08417; token mean of the NLL as in TRL',
  formula: '-(1-λ) log σ(X) - λ log σ(-X) + α NLL(chosen), X = β(a - b)',
  semantics: 'TRL (experimental); the NLL is a mean over the tokens of the optimiser step',
  needs: { branches: 2, reference: 'none', scored: 'response', normalise: 'pairs' },
  adaptiveBeta: false,
  params: {
    cpo_alpha: { default: 1, about: 'α, weight of the NLL term of CPO' },
    label_smoothing: { default: 0, about: 'λ, the assumed share of flipped labels, in [0, 0.5)' },
  },
  value: (d, p) => {
    const [x, λ] = [d.beta * (d.a - d.b), p['label_smoothing']!];
    return -(1 - λ) * logSigmoid(x) - λ * logSigmoid(-x) - p['cpo_alpha']! * d.a * d.perToken;
  },
  gradients: (d, p) => {
    const [x, λ] = [d.beta * (d.a - d.b), p['label_smoothing']!];
    const g = -d.beta * ((1 - λ) * σ(-x) - λ * σ(x));
    return { c: [g - p['cpo_alpha']! * d.perToken, -g], k: [0, 0] };
  },
  reward: { value: (logp, _ref, _tokens, beta) => beta * logp, wgsl: 'beta * s.logp' },
  wgsl: `  let x = beta * (w.logp - l.logp);
  let value = (1.0 - F_label_smoothing) * softplus(-x) + F_label_smoothing * softplus(x);
  let g = -beta * ((1.0 - F_label_smoothing) * sigmoid(-x) - F_label_smoothing * sigmoid(x));
  return Loss(value - F_cpo_alpha * args.per_token * w.logp, g - F_cpo_alpha * args.per_token, -g, 0.0, 0.0);`,
};
