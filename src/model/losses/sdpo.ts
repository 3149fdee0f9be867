import { sigmoid } from './sigmoid.js';
import type { LossDefinition } from './types.js';

/**
 * SDPO, segment level (Kong et al. 2025, arXiv 2501.01821): DPO over the tokens of chosen turns alone. The data say which: a weight per token (1 in the segment, 0
 * outside it, or anything else), or a weight per message of a dialogue. Segments of equally many turns let the turns' partition terms cancel.
 */
export const sdpo: LossDefinition = {
  ...sigmoid,
  name: 'sdpo',
  title: 'SDPO',
  citation: 'Kong et al. 2025, arXiv 2501.01821',
  semantics: 'the official code',
  formula: '-log σ(β(Σ_w ω_t d_t - Σ_l ω_t d_t)), d_t the log-ratio of token t, ω from the data',
  needs: { branches: 2, reference: 'logps', scored: 'response', normalise: 'pairs', tokenWeights: { from: 'data' } },
};
