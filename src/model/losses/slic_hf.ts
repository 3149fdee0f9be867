import type { LossDefinition } from './types.js';

/** SLiC-HF (Zhao et al. 2023, arXiv 2305.10425): a calibrating hinge on log-probs, and λ times the chosen response's own likelihood. */
export const slic_hf: LossDefinition = {
  name: 'slic_hf',
  title: 'SLiC-HF',
  citation: 'Zhao et al. 2023, arXiv 2305.10425, the chosen response as the target',
  formula: 'max(0, δ - a + b) - λa',
  semantics: 'the paper',
  needs: { branches: 2, reference: 'none', scored: 'response', normalise: 'pairs' },
  adaptiveBeta: false,
  params: {
    slic_delta: { default: 1, about: 'δ, margin of SLiC-HF’s hinge, nats' },
    slic_lambda: { default: 0.1, about: 'λ, weight of SLiC-HF’s likelihood term' },
  },
  value: (d, p) => Math.max(0, p['slic_delta']! - d.a + d.b) - p['slic_lambda']! * d.a,
  gradients: (d, p) => {
    const g = d.a - d.b < p['slic_delta']! ? -1 : 0;
    return { c: [g - p['slic_lambda']!, -g], k: [0, 0] };
  },
  reward: { value: (logp) => logp, wgsl: 's.logp' },
  wgsl: `  let h = w.logp - l.logp;
  let g = select(0.0, -1.0, h < F_slic_delta);
  return Loss(max(0.0, F_slic_delta - h) - F_slic_lambda * w.logp, g - F_slic_lambda, -g, 0.0, 0.0);`,
};
