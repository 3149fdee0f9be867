import { losses } from '../model/losses/index.js';
import type { LossDefinition } from '../model/losses/types.js';
import type { CliIo } from './io.js';

const REFERENCE = { none: 'nothing', logps: 'two sums', hidden: 'hidden states' } as const;
/** Which TRL a method's semantics follow (losses.md 2.1): since 0.29, unless said otherwise. */
const SEMANTICS: Record<string, string> = {
  epsilon_dpo: 'the official code and paper; see docs/epsilon-dpo-precision.md', sigmoid: 'TRL up to 0.28 (label_smoothing has an effect)', rrhf: 'the paper, for two responses', slic_hf: 'the paper',
  orpo: 'TRL; the NLL is a mean over the tokens of the optimiser step', beta_dpo: 'the official code, over group_size; evaluation moves nothing', kto: 'TRL, over group_size; mismatched pairs by the order of the data',
  bco: 'TRL’s BCO trainer, over group_size', aot: 'TRL since 0.29, over group_size', aot_unpaired: 'TRL since 0.29, over group_size', apo_zero_unpaired: 'TRL’s KTO trainer', r_dpo: 'the paper', cpo: 'TRL; the NLL is a mean over the tokens of the optimiser step', simpo: 'the official code', sft: 'transformers', tdpo1: 'the official code', tdpo2: 'the official code',
};

/** `edpo methods`: every loss with its paper, formula, needs and parameters. */
export function run(options: { json?: boolean }, io: CliIo): number {
  const list = Object.values<LossDefinition>(losses);
  if (options.json) {
    for (const l of list) io.out(JSON.stringify({ name: l.name, title: l.title, citation: l.citation, formula: l.formula, responses: l.needs.branches, reference: l.needs.reference, params: l.params, semantics: SEMANTICS[l.name] ?? 'TRL since 0.29' }));
    return 0;
  }
  for (const l of list) {
    io.out(`${l.name}  (${l.title})`);
    io.out(`    ${l.formula}`);
    io.out(`    ${l.citation}`);
    io.out(`    of the reference: ${REFERENCE[l.needs.reference]}; semantics: ${SEMANTICS[l.name] ?? 'TRL since 0.29'}`);
    for (const [key, { default: value, about }] of Object.entries(l.params)) io.out(`    ${key}: ${value}  ${about}`);
  }
  io.out('\nThese compose: loss_type with several names and loss_weights (a mixture; sft in it is the NLL of chosen responses), rpo_alpha (that NLL beside\nany loss of pairs), f_divergence_type (forward_kl, js_divergence, alpha_divergence: the score s(u) in place of u).\n\nu, v: log-ratios of policy and reference summed over the chosen and the rejected response; h = u - v; a, b: the policy\u2019s sums; n_w, n_l: their tokens.');
  return 0;
}
