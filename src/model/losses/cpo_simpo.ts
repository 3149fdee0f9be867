import { simpo } from './simpo.js';
import type { LossDefinition } from './types.js';

/** CPO-SimPO: SimPO's preference term with CPO's negative log-likelihood of the chosen response, a mean over the tokens of the optimiser step. */
export const cpo_simpo: LossDefinition = {
  ...simpo,
  name: 'cpo_simpo',
  title: 'CPO-SimPO',
  citation: 'the CPO_SIMPO repository; TRL’s CPO trainer with loss_type simpo and cpo_alpha > 0',
  formula: 'SimPO + α NLL(chosen)',
  semantics: 'TRL (experimental)',
  params: { ...simpo.params, cpo_alpha: { default: 1, about: 'α, weight of the NLL term' } },
  value: (d, p) => simpo.value(d, p) - p['cpo_alpha']! * d.a * d.perToken,
  gradients: (d, p) => {
    const { c, k } = simpo.gradients(d, p);
    return { c: [c[0] - p['cpo_alpha']! * d.perToken, c[1]], k };
  },
  wgsl: simpo.wgsl.replace('return Loss(value, g / w.tokens,', 'return Loss(value - F_cpo_alpha * args.per_token * w.logp, g / w.tokens - F_cpo_alpha * args.per_token,'),
};
