import { logSigmoid, sigmoid as σ, type LossDefinition } from './types.js';

/** BCO on pairs (Jung et al. 2024, arXiv 2404.04656) with shift δ = 0, as TRL since 0.29. */
export const bco_pair: LossDefinition = {
  name: 'bco_pair',
  title: 'BCO',
  citation: 'Jung et al. 2024, arXiv 2404.04656; δ = 0 as TRL since 0.29',
  formula: '-log σ(βu) - log σ(-βv)',
  needs: { branches: 2, reference: 'logps', scored: 'response', normalise: 'pairs' },
  adaptiveBeta: false,
  params: {},
  value: (d) => {
    const [u, v] = [d.a - d.aRef, d.b - d.bRef];
    return -logSigmoid(d.beta * u) - logSigmoid(-d.beta * v);
  },
  gradients: (d) => {
    const [u, v] = [d.a - d.aRef, d.b - d.bRef];
    return { c: [-d.beta * σ(-d.beta * u), d.beta * σ(d.beta * v)], k: [0, 0] };
  },
  wgsl: `  let u = w.logp - w.ref_logp;
  let v = l.logp - l.ref_logp;
  return Loss(softplus(-beta * u) + softplus(beta * v), -beta * sigmoid(-beta * u), beta * sigmoid(beta * v), 0.0, 0.0);`,
};
