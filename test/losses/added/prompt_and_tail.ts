import { logSigmoid, sigmoid as σ, type DocumentScalars, type LossDefinition } from '../../../src/model/losses/types.js';

const x = (d: DocumentScalars): number => d.beta * (d.a - d.b);

/** One that scores prompt rows and weights tokens: those after the length both responses have count half; no reference. */
export const prompt_and_tail: LossDefinition = {
  name: 'prompt_and_tail',
  title: 'weighted tails and the prompt’s likelihood',
  citation: 'none: a test’s',
  formula: '-log σ(β(a - b)) - NLL of the prompt, sums with ω_t',
  needs: { branches: 2, reference: 'none', scored: 'all', normalise: 'pairs', tokenWeights: { from: 'length', alpha: 0.5 } },
  adaptiveBeta: false,
  params: {},
  value: (d) => -logSigmoid(x(d)) - d.perToken * (d.prompt ?? 0),
  gradients: (d) => {
    const g = -d.beta * σ(-x(d));
    return { c: [g, -g], k: [0, 0], prompt: -d.perToken };
  },
  reward: { value: (logp, _ref, _tokens, beta) => beta * logp, wgsl: 'beta * s.logp' },
  wgsl: `  let x = beta * (w.logp - l.logp);
  let g = -beta * sigmoid(-x);
  prompt_c = -args.per_token;
  return Loss(softplus(-x) - args.per_token * prompt.logp, g, -g, 0.0, 0.0);`,
};
