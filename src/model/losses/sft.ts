import type { LossDefinition } from './types.js';

/** Supervised fine-tuning: negative log-likelihood of the response, a mean over the tokens of the optimiser step. */
export const sft: LossDefinition = {
  name: 'sft',
  title: 'SFT',
  citation: 'maximum likelihood; token mean over the optimiser step as in arXiv 2502.13177, Appendix B.2',
  formula: '-(1/N) Σ log π(y_t)',
  semantics: 'transformers',
  needs: { branches: 1, reference: 'none', scored: 'response', normalise: 'tokens' },
  adaptiveBeta: false,
  params: {},
  value: (d) => -d.a,
  gradients: () => ({ c: [-1, 0], k: [0, 0] }),
  wgsl: '  return Loss(-w.logp, -1.0, 0.0, 0.0, 0.0);',
};
