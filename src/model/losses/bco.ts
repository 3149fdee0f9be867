import { logSigmoid, sigmoid as σ, type DocumentScalars, type LossDefinition } from './types.js';

const x = (d: DocumentScalars): number => (d.desirable ? 1 : -1) * (d.beta * (d.a - d.aRef) - d.group!.shared[0]!);

/**
 * BCO (Jung et al. 2024, arXiv 2404.04656) on single responses with a label: a classifier of rewards, shifted by δ, the mean of all rewards so far, this
 * group's among them. TRL's optional density-ratio weights are not here.
 */
export const bco: LossDefinition = {
  name: 'bco',
  title: 'BCO, unpaired',
  citation: 'Jung et al. 2024, arXiv 2404.04656; δ over group_size responses and all before, as TRL’s BCO trainer has it',
  semantics: 'TRL’s BCO trainer, over group_size',
  formula: '-log σ(βu - δ) where desirable, -log σ(δ - βu) where not; δ the running mean of βu',
  needs: { branches: 1, reference: 'logps', scored: 'response', normalise: 'pairs', unpaired: true },
  adaptiveBeta: false,
  params: {},
  column: { name: 'delta', value: (d) => d.group!.shared[0]! },
  group: {
    of: 'documents', least: 1, state: { mean: 0, count: 0 }, detached: true,
    evaluate: (members, [mean, count], _p, { beta, training }) => {
      const now = (beta * members.reduce((s, m) => s + (m.a - m.aRef), 0)) / members.length;
      const state = training ? [mean! + ((now - mean!) * members.length) / (count! + members.length), count! + members.length] : [mean!, count!];
      return { own: members.map(() => []), shared: [state[0]!], state };
    },
    passes: [{ over: 'group', wgsl: `  var sum = 0.0;
  for (var j = 0u; j < n; j++) { sum += a_of(j) - a_ref_of(j); }
  let now = beta() * (sum / f32(n));
  if (args.training == 1u) {
    set_state(0u, state(0u) + (now - state(0u)) * (f32(n) / (state(1u) + f32(n))));
    set_state(1u, state(1u) + f32(n));
  }
  set_shared(0u, state(0u));` }],
  },
  value: (d) => -logSigmoid(x(d)),
  gradients: (d) => ({ c: [(d.desirable ? -1 : 1) * d.beta * σ(-x(d)), 0], k: [0, 0] }),
  wgsl: `  let sign = 2.0 * desirable - 1.0;
  let x = sign * (beta * (w.logp - w.ref_logp) - shared_of(0u));
  column = shared_of(0u);
  return Loss(softplus(-x), -sign * beta * sigmoid(-x), 0.0, 0.0, 0.0);`,
};
