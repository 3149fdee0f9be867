import { sigmoid as σ, type DocumentScalars, type LossDefinition } from './types.js';

const x = (d: DocumentScalars): number => (d.desirable ? 1 : -1) * d.beta * (d.a - d.aRef);

/** APO-zero on single responses with a label (D’Oosterlinck et al. 2024, arXiv 2408.06266): KTO with z = 0 and weights of 1. */
export const apo_zero_unpaired: LossDefinition = {
  name: 'apo_zero_unpaired',
  title: 'APO-zero, unpaired',
  citation: 'D’Oosterlinck et al. 2024, arXiv 2408.06266; as TRL’s KTO trainer has it',
  semantics: 'TRL’s KTO trainer',
  formula: '1 - σ(βu) where desirable, σ(βu) where not',
  needs: { branches: 1, reference: 'logps', scored: 'response', normalise: 'pairs', unpaired: true },
  adaptiveBeta: false,
  params: {},
  value: (d) => σ(-x(d)),
  gradients: (d) => ({ c: [(d.desirable ? -1 : 1) * d.beta * σ(x(d)) * σ(-x(d)), 0], k: [0, 0] }),
  wgsl: `  let sign = 2.0 * desirable - 1.0;
  let x = sign * beta * (w.logp - w.ref_logp);
  return Loss(sigmoid(-x), -sign * beta * sigmoid(x) * sigmoid(-x), 0.0, 0.0, 0.0);`,
};
