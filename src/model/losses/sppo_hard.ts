import { type LossDefinition } from './types.js';

/** SPPO with hard labels (Wu et al. 2024, arXiv 2405.00675): both log-ratios are drawn to ±1/(2β); the paper takes β = 0.001. */
export const sppo_hard: LossDefinition = {
  name: 'sppo_hard',
  title: 'SPPO',
  citation: 'Wu et al. 2024, arXiv 2405.00675',
  formula: '(u - 1/(2β))² + (v + 1/(2β))²',
  needs: { branches: 2, reference: 'logps', scored: 'response', normalise: 'pairs' },
  adaptiveBeta: false,
  params: {},
  value: (d) => {
    const [u, v] = [d.a - d.aRef, d.b - d.bRef];
    return (u - 1 / (2 * d.beta)) ** 2 + (v + 1 / (2 * d.beta)) ** 2;
  },
  gradients: (d) => {
    const [u, v] = [d.a - d.aRef, d.b - d.bRef];
    return { c: [2 * (u - 1 / (2 * d.beta)), 2 * (v + 1 / (2 * d.beta))], k: [0, 0] };
  },
  wgsl: `  let u = w.logp - w.ref_logp;
  let v = l.logp - l.ref_logp;
  return Loss((u - 0.5 / beta) * (u - 0.5 / beta) + (v + 0.5 / beta) * (v + 0.5 / beta), 2.0 * (u - 0.5 / beta), 2.0 * (v + 0.5 / beta), 0.0, 0.0);`,
};
