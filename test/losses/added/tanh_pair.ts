import { margin } from '../../../src/model/losses/sigmoid.js';
import type { LossDefinition } from '../../../src/model/losses/types.js';

/** One like DPO: a bounded function of the margin. */
export const tanh_pair: LossDefinition = {
  name: 'tanh_pair',
  title: 'a bounded margin',
  citation: 'none: a test’s',
  formula: '1 - tanh(βh)',
  needs: { branches: 2, reference: 'logps', scored: 'response', normalise: 'pairs' },
  adaptiveBeta: false,
  params: { tanh_scale: { default: 1.5, about: 'what the loss is multiplied by' } },
  value: (d, p) => p['tanh_scale']! * (1 - Math.tanh(d.beta * margin(d))),
  gradients: (d, p) => {
    const g = (-p['tanh_scale']! * d.beta) / Math.cosh(Math.min(20, Math.abs(d.beta * margin(d)))) ** 2;
    return { c: [g, -g], k: [0, 0] };
  },
  wgsl: `  let x = beta * ((w.logp - w.ref_logp) - (l.logp - l.ref_logp));
  // 2 sigmoid(-2x) and 4 sigmoid(2x) sigmoid(-2x): nothing overflows.
  let g = -F_tanh_scale * beta * 4.0 * sigmoid(2.0 * x) * sigmoid(-2.0 * x);
  return Loss(F_tanh_scale * 2.0 * sigmoid(-2.0 * x), g, -g, 0.0, 0.0);`,
};
