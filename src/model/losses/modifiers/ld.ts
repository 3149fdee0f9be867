import type { LossDefinition } from '../types.js';

/** Losses of the two summed log-ratios alone: where LD-DPO's weighted sums may take their place. */
export const DESENSITISED = ['sigmoid', 'robust', 'hinge', 'exo_pair', 'nca_pair', 'bco_pair', 'sppo_hard', 'apo_zero', 'apo_down', 'discopop', 'r_dpo'];

/**
 * LD-DPO (Liu et al. 2024, arXiv 2409.06411): tokens after the length that both responses have count α, in the policy's sums and the reference's
 * (TRL's form since 0.29). α = 1 is the loss itself.
 */
export const lengthDesensitised = (loss: LossDefinition, alpha: number): LossDefinition => ({
  ...loss,
  name: `${loss.name} (LD ${alpha})`,
  title: `${loss.title} (LD)`,
  citation: `${loss.citation}; LD-DPO: Liu et al. 2024, arXiv 2409.06411`,
  formula: `${loss.formula} with Σ ω_t log π, ω = 1 for the first min(n_w, n_l) tokens, ${alpha} after`,
  needs: { ...loss.needs, tokenWeights: { from: 'length', alpha } },
});
