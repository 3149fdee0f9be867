import { sigmoid } from './sigmoid.js';
import type { LossDefinition } from './types.js';

/**
 * ε-DPO (arXiv 2502.13177, Eq. 5 and 6): DPO whose β is chosen per pair by whether the preference logit moves monotonically
 * when β is perturbed. β̃ is constant in the gradient, so value and gradients are DPO's at the pair's own β.
 */
export const epsilon_dpo: LossDefinition = {
  ...sigmoid,
  name: 'epsilon_dpo',
  title: 'ε-DPO',
  citation: 'arXiv 2502.13177, Eq. 5 (pair β) and Eq. 6 (running β)',
  formula: '-log σ(β̃h), β̃ = β/(1+εs), s ∈ {-1, 0, +1} by the ε-criterion',
  semantics: 'the official code and paper; see docs/epsilon-dpo-precision.md',
  needs: { branches: 2, reference: 'hidden', scored: 'response', normalise: 'pairs' },
  adaptiveBeta: true,
  params: { label_smoothing: { default: 0, about: 'λ as in sigmoid; in the official code it has no effect, here it has' } },
};
