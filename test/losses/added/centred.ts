import { margin } from '../../../src/model/losses/sigmoid.js';
import { logSigmoid, sigmoid as σ, type DocumentScalars, type LossDefinition } from '../../../src/model/losses/types.js';

const x = (d: DocumentScalars): number => d.beta * (margin(d) - d.group!.shared[0]!);

/** One with group statistics and a state: DPO against the running mean of the groups' largest margins. */
export const centred: LossDefinition = {
  name: 'centred',
  title: 'margins against a running mean',
  citation: 'none: a test’s',
  formula: '-log σ(β(h - m)), m the running mean of the largest h of a group',
  needs: { branches: 2, reference: 'logps', scored: 'response', normalise: 'pairs' },
  adaptiveBeta: false,
  params: { centred_momentum: { default: 0.5, about: 'of the running mean' } },
  column: { name: 'centre', value: (d) => d.group!.shared[0]! },
  group: {
    of: 'documents', least: 1, state: { mean: -1 }, detached: true,
    evaluate: (members, [mean], p, { training }) => {
      const most = Math.max(...members.map((m) => m.a - m.aRef - (m.b - m.bRef)));
      const γ = p['centred_momentum']!;
      const next = training ? γ * mean! + (1 - γ) * most : mean!;
      return { own: members.map(() => []), shared: [next], state: [next] };
    },
    passes: [{ over: 'group', wgsl: `  var most = (a_of(0u) - a_ref_of(0u)) - (b_of(0u) - b_ref_of(0u));
  for (var j = 1u; j < n; j++) { most = max(most, (a_of(j) - a_ref_of(j)) - (b_of(j) - b_ref_of(j))); }
  if (args.training == 1u) { set_state(0u, F_centred_momentum * state(0u) + (1.0 - F_centred_momentum) * most); }
  set_shared(0u, state(0u));` }],
  },
  value: (d) => -logSigmoid(x(d)),
  gradients: (d) => {
    const g = -d.beta * σ(-x(d));
    return { c: [g, -g], k: [0, 0] };
  },
  wgsl: `  let x = beta * (((w.logp - w.ref_logp) - (l.logp - l.ref_logp)) - shared_of(0u));
  let g = -beta * sigmoid(-x);
  column = shared_of(0u);
  return Loss(softplus(-x), g, -g, 0.0, 0.0);`,
};
