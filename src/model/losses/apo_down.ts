import { sigmoid as σ, type LossDefinition } from './types.js';

/** APO-down (D’Oosterlinck et al. 2024, arXiv 2408.06266): lowers both, the rejected response more; for a policy better than its data. */
export const apo_down: LossDefinition = {
  name: 'apo_down',
  title: 'APO-down',
  citation: 'D’Oosterlinck et al. 2024, arXiv 2408.06266',
  formula: 'σ(βu) + 1 - σ(βh)',
  needs: { branches: 2, reference: 'logps', scored: 'response', normalise: 'pairs' },
  adaptiveBeta: false,
  params: {},
  value: (d) => {
    const [u, v] = [d.a - d.aRef, d.b - d.bRef];
    return σ(d.beta * u) + σ(-d.beta * (u - v));
  },
  gradients: (d) => {
    const [u, v] = [d.a - d.aRef, d.b - d.bRef];
    return { c: [d.beta * σ(d.beta * u) * σ(-d.beta * u) - d.beta * σ(d.beta * (u - v)) * σ(-d.beta * (u - v)), d.beta * σ(d.beta * (u - v)) * σ(-d.beta * (u - v))], k: [0, 0] };
  },
  wgsl: `  let u = w.logp - w.ref_logp;
  let v = l.logp - l.ref_logp;
  return Loss(sigmoid(beta * u) + sigmoid(-beta * (u - v)), beta * sigmoid(beta * u) * sigmoid(-beta * u) - beta * sigmoid(beta * (u - v)) * sigmoid(-beta * (u - v)), beta * sigmoid(beta * (u - v)) * sigmoid(-beta * (u - v)), 0.0, 0.0);`,
};
