import { logSigmoid, sigmoid as σ, type DocumentScalars, type LossDefinition } from './types.js';

const x = (d: DocumentScalars, p: Record<string, number>): number => d.beta * (d.a / d.tokensChosen - d.b / d.tokensRejected) - p['simpo_gamma']!;

/** SimPO (Meng et al. 2024, arXiv 2405.14734, Eq. 6): the average log-prob of a response is its reward, with a target margin γ; no reference. */
export const simpo: LossDefinition = {
  name: 'simpo',
  title: 'SimPO',
  citation: 'Meng et al. 2024, arXiv 2405.14734, Eq. 6',
  formula: '-(1-λ) log σ(X) - λ log σ(-X), X = β(a/n_w - b/n_l) - γ',
  semantics: 'the official code; simpo_gamma as in TRL',
  needs: { branches: 2, reference: 'none', scored: 'response', normalise: 'pairs' },
  adaptiveBeta: false,
  params: {
    simpo_gamma: { default: 0.5, about: 'γ, the target reward margin of SimPO (not γ/β)' },
    label_smoothing: { default: 0, about: 'λ, the assumed share of flipped labels, in [0, 0.5)' },
  },
  value: (d, p) => {
    const λ = p['label_smoothing']!;
    return -(1 - λ) * logSigmoid(x(d, p)) - λ * logSigmoid(-x(d, p));
  },
  gradients: (d, p) => {
    const λ = p['label_smoothing']!;
    const g = -d.beta * ((1 - λ) * σ(-x(d, p)) - λ * σ(x(d, p)));
    return { c: [g / d.tokensChosen, -g / d.tokensRejected], k: [0, 0] };
  },
  reward: { value: (logp, _ref, tokens, beta) => (beta * logp) / tokens, wgsl: 'beta * s.logp / s.tokens' },
  wgsl: `  let x = beta * (w.logp / w.tokens - l.logp / l.tokens) - F_simpo_gamma;
  let value = (1.0 - F_label_smoothing) * softplus(-x) + F_label_smoothing * softplus(x);
  let g = -beta * ((1.0 - F_label_smoothing) * sigmoid(-x) - F_label_smoothing * sigmoid(x));
  return Loss(value, g / w.tokens, -g / l.tokens, 0.0, 0.0);`,
};
