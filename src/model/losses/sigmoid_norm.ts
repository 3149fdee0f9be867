import { logSigmoid, sigmoid as σ, type DocumentScalars, type LossDefinition } from './types.js';

/** Difference of the length-averaged log-ratios, u/n_w − v/n_l. */
export const averagedMargin = (d: DocumentScalars): number => (d.a - d.aRef) / d.tokensChosen - (d.b - d.bRef) / d.tokensRejected;

/** Length-normalised DPO (arXiv 2407.15229; Tülu 3, arXiv 2411.15124, which takes β near 5). */
export const sigmoid_norm: LossDefinition = {
  name: 'sigmoid_norm',
  title: 'LN-DPO',
  citation: 'length-normalised DPO, arXiv 2407.15229; Tülu 3, arXiv 2411.15124',
  formula: '-log σ(β(u/n_w - v/n_l))',
  needs: { branches: 2, reference: 'logps', scored: 'response', normalise: 'pairs' },
  adaptiveBeta: false,
  params: {},
  value: (d) => -logSigmoid(d.beta * averagedMargin(d)),
  gradients: (d) => {
    const g = -d.beta * σ(-d.beta * averagedMargin(d));
    return { c: [g / d.tokensChosen, -g / d.tokensRejected], k: [0, 0] };
  },
  wgsl: `  let x = beta * ((w.logp - w.ref_logp) / w.tokens - (l.logp - l.ref_logp) / l.tokens);
  let g = -beta * sigmoid(-x);
  return Loss(softplus(-x), g / w.tokens, -g / l.tokens, 0.0, 0.0);`,
};
