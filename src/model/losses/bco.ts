import { logSigmoid, sigmoid as σ, type DocumentScalars, type LossDefinition } from './types.js';

const x = (d: DocumentScalars): number => (d.desirable ? 1 : -1) * (d.beta * (d.a - d.aRef) - d.group!.shared[0]!);

/**
 * BCO (Jung et al. 2024, arXiv 2404.04656) on single responses with a label: a classifier of rewards, shifted by δ, the mean of all rewards so far, this
 * group's among them. With `prompt_embeddings` an undesirable response counts the density ratio of its prompt (src/model/density_ratio).
 */
export const bco: LossDefinition = {
  name: 'bco',
  title: 'BCO, unpaired',
  citation: 'Jung et al. 2024, arXiv 2404.04656; δ over group_size responses and all before, as TRL’s BCO trainer has it',
  semantics: 'TRL’s BCO trainer (1.9 was its last), over group_size',
  formula: '-log σ(βu - δ) where desirable, -r log σ(δ - βu) where not; δ the running mean of βu; r = 1, or with prompt_embeddings the ratio p/(1-p) of the prompt among both kinds',
  needs: { branches: 1, reference: 'logps', scored: 'response', normalise: 'pairs', unpaired: true },
  adaptiveBeta: false,
  params: {
    prompt_sample_size: { default: 1024, about: 'prompts of each kind that the classifier behind r learns from, at most' },
    min_density_ratio: { default: 0.5, about: 'least r' },
    max_density_ratio: { default: 10, about: 'largest r' },
  },
  options: {
    prompt_embeddings: { default: 'none', about: 'what r is made of: a file with an embedding of every prompt, or "reference", its states; none: r = 1' },
    eval_prompt_embeddings: { default: 'none', about: 'the file of the evaluation data' },
  },
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
  value: (d) => -(d.weight ?? 1) * logSigmoid(x(d)),
  gradients: (d) => ({ c: [(d.desirable ? -1 : 1) * (d.weight ?? 1) * d.beta * σ(-x(d)), 0], k: [0, 0] }),
  wgsl: `  let sign = 2.0 * desirable - 1.0;
  let x = sign * (beta * (w.logp - w.ref_logp) - shared_of(0u));
  column = shared_of(0u);
  return Loss(document_weight * softplus(-x), -sign * document_weight * beta * sigmoid(-x), 0.0, 0.0, 0.0);`,
};
