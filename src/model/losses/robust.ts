import { margin } from './sigmoid.js';
import { logSigmoid, sigmoid as σ, type LossDefinition } from './types.js';

/** Robust DPO (Chowdhury et al. 2024, arXiv 2403.00409): DPO made unbiased under labels flipped with probability λ. */
export const robust: LossDefinition = {
  name: 'robust',
  title: 'Robust DPO',
  citation: 'Chowdhury et al. 2024, arXiv 2403.00409',
  formula: '[-(1-λ) log σ(βh) + λ log σ(-βh)] / (1-2λ)',
  needs: { branches: 2, reference: 'logps', scored: 'response', normalise: 'pairs' },
  adaptiveBeta: false,
  params: { label_smoothing: { default: 0, about: 'λ, the assumed share of flipped labels, in [0, 0.5)' } },
  value: (d, p) => {
    const [x, λ] = [d.beta * margin(d), p['label_smoothing']!];
    return (-(1 - λ) * logSigmoid(x) + λ * logSigmoid(-x)) / (1 - 2 * λ);
  },
  gradients: (d, p) => {
    const [x, λ] = [d.beta * margin(d), p['label_smoothing']!];
    // (1-λ) - (1-2λ)σ(x) = (1-λ)σ(-x) + λσ(x): a sum, nothing cancels.
    const g = (-d.beta * ((1 - λ) * σ(-x) + λ * σ(x))) / (1 - 2 * λ);
    return { c: [g, -g], k: [0, 0] };
  },
  wgsl: `  let x = beta * ((w.logp - w.ref_logp) - (l.logp - l.ref_logp));
  let scale = 1.0 / (1.0 - 2.0 * F_label_smoothing);
  let value = scale * ((1.0 - F_label_smoothing) * softplus(-x) - F_label_smoothing * softplus(x));
  let g = -beta * scale * ((1.0 - F_label_smoothing) * sigmoid(-x) + F_label_smoothing * sigmoid(x));
  return Loss(value, g, -g, 0.0, 0.0);`,
};
