import { sigmoid as σ, type LossDefinition } from './types.js';

/** APO-zero (D’Oosterlinck et al. 2024, arXiv 2408.06266): raises the chosen and lowers the rejected response. */
export const apo_zero: LossDefinition = {
  name: 'apo_zero',
  title: 'APO-zero',
  citation: 'D’Oosterlinck et al. 2024, arXiv 2408.06266',
  formula: '1 - σ(βu) + σ(βv)',
  needs: { branches: 2, reference: 'logps', scored: 'response', normalise: 'pairs' },
  adaptiveBeta: false,
  params: {},
  value: (d) => {
    const [u, v] = [d.a - d.aRef, d.b - d.bRef];
    return σ(-d.beta * u) + σ(d.beta * v);
  },
  gradients: (d) => {
    const [u, v] = [d.a - d.aRef, d.b - d.bRef];
    return { c: [-d.beta * σ(d.beta * u) * σ(-d.beta * u), d.beta * σ(d.beta * v) * σ(-d.beta * v)], k: [0, 0] };
  },
  wgsl: `  let u = w.logp - w.ref_logp;
  let v = l.logp - l.ref_logp;
  return Loss(sigmoid(-beta * u) + sigmoid(beta * v), -beta * sigmoid(beta * u) * sigmoid(-beta * u), beta * sigmoid(beta * v) * sigmoid(-beta * v), 0.0, 0.0);`,
};
