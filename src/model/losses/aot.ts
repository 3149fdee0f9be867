import { cDpo, matched } from './aot_unpaired.js';
import type { LossDefinition } from './types.js';

/** AOT on pairs (Melnyk et al. 2024, arXiv 2406.05882): the policy's log-ratios a - b, sorted, are to exceed the reference's, sorted. */
export const aot: LossDefinition = {
  name: 'aot',
  title: 'AOT',
  citation: 'Melnyk et al. 2024, arXiv 2406.05882 (paired); sorted over group_size pairs',
  semantics: 'TRL since 0.29, over group_size',
  formula: '-(1-λ) log σ(βD) - λ log σ(-βD), D_k = A_(k) - A_ref(k) of the sorted log-ratios A = a - b',
  needs: { branches: 2, reference: 'logps', scored: 'response', normalise: 'pairs' },
  adaptiveBeta: false,
  params: { label_smoothing: { default: 0, about: 'λ, the assumed share of flipped labels, in [0, 0.5)' } },
  group: matched((m) => m.a - m.b, (m) => m.aRef - m.bRef, 'a_of(i) - b_of(i)', 'a_ref_of(i) - b_ref_of(i)'),
  value: (d, p) => cDpo(d.beta * (d.a - d.b - d.group!.own[0]!), p['label_smoothing']!).value,
  gradients: (d, p) => {
    const g = d.beta * cDpo(d.beta * (d.a - d.b - d.group!.own[0]!), p['label_smoothing']!).slope;
    return { c: [g, -g], k: [0, 0] };
  },
  wgsl: `  let x = beta * ((w.logp - l.logp) - own(0u));
  let value = (1.0 - F_label_smoothing) * softplus(-x) + F_label_smoothing * softplus(x);
  let g = -beta * ((1.0 - F_label_smoothing) * sigmoid(-x) - F_label_smoothing * sigmoid(x));
  return Loss(value, g, -g, 0.0, 0.0);`,
};
