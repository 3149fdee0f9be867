import { margin } from './sigmoid.js';
import type { LossDefinition } from './types.js';

/** Hinge on log-ratios (Zhao et al. 2023, arXiv 2305.10425; Liu et al. 2023, arXiv 2309.06657, hinge-norm). */
export const hinge: LossDefinition = {
  name: 'hinge',
  title: 'Hinge',
  citation: 'SLiC, arXiv 2305.10425, on log-ratios as in RSO, arXiv 2309.06657 (hinge-norm, γ = β)',
  formula: 'max(0, 1 - βh)',
  needs: { branches: 2, reference: 'logps', scored: 'response', normalise: 'pairs' },
  adaptiveBeta: false,
  params: {},
  value: (d) => Math.max(0, 1 - d.beta * margin(d)),
  gradients: (d) => {
    const g = d.beta * margin(d) < 1 ? -d.beta : 0;
    return { c: [g, -g], k: [0, 0] };
  },
  wgsl: `  let x = beta * ((w.logp - w.ref_logp) - (l.logp - l.ref_logp));
  let g = select(0.0, -beta, x < 1.0);
  return Loss(max(0.0, 1.0 - x), g, -g, 0.0, 0.0);`,
};
