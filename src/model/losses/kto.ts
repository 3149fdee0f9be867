import { sigmoid as σ, type DocumentScalars, type LossDefinition } from './types.js';

/** β(u - z) of a desirable response, β(z - u) of another. */
const x = (d: DocumentScalars): number => (d.desirable ? 1 : -1) * d.beta * (d.a - d.aRef - d.group!.shared[0]!);
const weight = (d: DocumentScalars, p: Record<string, number>): number => p[d.desirable ? 'desirable_weight' : 'undesirable_weight']!;

/**
 * KTO (Ethayarajh et al. 2024, arXiv 2402.01306, Eq. 8) on single responses with a label. The point of reference z is the mean log-ratio of mismatched
 * pairs over the group, each prompt with the response of the row before it, clamped at 0 and without a gradient.
 */
export const kto: LossDefinition = {
  name: 'kto',
  title: 'KTO',
  citation: 'Ethayarajh et al. 2024, arXiv 2402.01306, Eq. 8; z over group_size responses',
  semantics: 'TRL, over group_size; mismatched pairs by the order of the data',
  formula: 'λ_D σ(-β(u - z)) where desirable, λ_U σ(-β(z - u)) where not; z = max(0, mean log-ratio of mismatched pairs)',
  needs: { branches: 1, reference: 'logps', scored: 'response', normalise: 'pairs', unpaired: true },
  adaptiveBeta: false,
  params: {
    desirable_weight: { default: 1, about: 'λ_D, weight of desirable responses' },
    undesirable_weight: { default: 1, about: 'λ_U, weight of undesirable responses' },
  },
  column: { name: 'kl', value: (d) => d.group!.shared[0]! },
  group: {
    of: 'mismatched', least: 1, state: {}, detached: true,
    evaluate: (members, state) => ({ own: members.map(() => []), shared: [Math.max(0, members.reduce((s, m) => s + (m.a - m.aRef), 0) / members.length)], state }),
    passes: [{ over: 'group', wgsl: `  var sum = 0.0;
  for (var j = 0u; j < n; j++) { sum += a_of(j) - a_ref_of(j); }
  set_shared(0u, max(0.0, sum / f32(n)));` }],
  },
  value: (d, p) => weight(d, p) * σ(-x(d)),
  gradients: (d, p) => ({ c: [(d.desirable ? -1 : 1) * weight(d, p) * d.beta * σ(x(d)) * σ(-x(d)), 0], k: [0, 0] }),
  wgsl: `  let sign = 2.0 * desirable - 1.0;
  let weight = select(F_undesirable_weight, F_desirable_weight, desirable > 0.5);
  let x = sign * beta * ((w.logp - w.ref_logp) - shared_of(0u));
  column = shared_of(0u);
  return Loss(weight * sigmoid(-x), -sign * weight * beta * sigmoid(x) * sigmoid(-x), 0.0, 0.0, 0.0);`,
};
