import { logSigmoid, sigmoid as σ, type LossDefinition } from './types.js';

/** NCA on pairs (Chen et al. 2024, arXiv 2402.05369): each response against its own share, so that the chosen one’s likelihood does not fall. */
export const nca_pair: LossDefinition = {
  name: 'nca_pair',
  title: 'NCA',
  citation: 'Chen et al. 2024, arXiv 2402.05369',
  formula: '-log σ(βu) - ½ log σ(-βu) - ½ log σ(-βv)',
  needs: { branches: 2, reference: 'logps', scored: 'response', normalise: 'pairs' },
  adaptiveBeta: false,
  params: {},
  value: (d) => {
    const [u, v] = [d.a - d.aRef, d.b - d.bRef];
    return -logSigmoid(d.beta * u) - 0.5 * logSigmoid(-d.beta * u) - 0.5 * logSigmoid(-d.beta * v);
  },
  gradients: (d) => {
    const [u, v] = [d.a - d.aRef, d.b - d.bRef];
    return { c: [d.beta * (0.5 * σ(d.beta * u) - σ(-d.beta * u)), 0.5 * d.beta * σ(d.beta * v)], k: [0, 0] };
  },
  wgsl: `  let u = w.logp - w.ref_logp;
  let v = l.logp - l.ref_logp;
  return Loss(softplus(-beta * u) + 0.5 * softplus(beta * u) + 0.5 * softplus(beta * v), beta * (0.5 * sigmoid(beta * u) - sigmoid(-beta * u)), 0.5 * beta * sigmoid(beta * v), 0.0, 0.0);`,
};
