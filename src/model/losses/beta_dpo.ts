import { margin } from './sigmoid.js';
import { logSigmoid, sigmoid as σ, type GroupMember, type LossDefinition } from './types.js';

const LEAST_BETA = 1e-3;

/** Pairs of n that the filter keeps; at least one. */
const kept = (n: number, p: Record<string, number>): number => Math.max(1, Math.floor((1 - p['beta_dpo_filter']!) * n + 1e-3));

const marginOf = (m: GroupMember): number => m.a - m.aRef - (m.b - m.bRef);

/**
 * β-DPO (Wu et al. 2024, arXiv 2407.08639; code junkangwu/beta-DPO): one β for a group of pairs, from how far the mean margin of the kept ones is from its
 * running mean, and a filter that draws the pairs by how usual their margins are. Running mean and deviation start at 0, without correction, as there.
 * Here they stand still in evaluation, which filters nothing.
 */
export const beta_dpo: LossDefinition = {
  name: 'beta_dpo',
  title: 'β-DPO',
  citation: 'Wu et al. 2024, arXiv 2407.08639; statistics over group_size pairs as in the official code',
  semantics: 'the official code, over group_size; evaluation moves nothing',
  formula: '-log σ(β̂h) over the pairs kept, β̂ = max(0.001, β(1 + α(mean h of those - M))), M the running mean of h',
  needs: { branches: 2, reference: 'logps', scored: 'response', normalise: 'pairs' },
  adaptiveBeta: false,
  params: {
    beta_dpo_alpha: { default: 0.6, about: 'α, how much β follows the margins of the group' },
    beta_dpo_filter: { default: 0.2, about: 'ρ, the share of pairs of a group that the filter leaves out' },
    beta_dpo_momentum: { default: 0.9, about: 'of the running mean and deviation of margins' },
  },
  column: { name: 'beta', value: (d) => d.group!.shared[0]! },
  group: {
    of: 'documents', least: 2, state: { mean: 0, deviation: 0 }, detached: true,
    // own: 0 draw, 1 kept; shared: 0 β, 1 the weight of a kept pair.
    evaluate: (members, [mean0, deviation0], p, { beta, training }) => {
      const n = members.length;
      const h = members.map(marginOf);
      const γ = p['beta_dpo_momentum']!;
      const mean = h.reduce((s, x) => s + x, 0) / n;
      const deviation = Math.sqrt(h.reduce((s, x) => s + (x - mean) ** 2, 0) / Math.max(1, n - 1));
      const state = training ? [γ * mean0! + (1 - γ) * mean, n > 1 ? γ * deviation0! + (1 - γ) * deviation : deviation0!] : [mean0!, deviation0!];
      // Weighted drawing without replacement: the largest of log weight + Gumbel noise.
      const draw = h.map((x, i) => -0.5 * (state[1]! > 0 ? (x - state[0]!) / state[1]! : 0) ** 2 - Math.log(-Math.log(members[i]!.uniform)));
      const m = training ? kept(n, p) : n;
      const keep = draw.map((x, i) => (draw.reduce((r, y, j) => r + Number(y > x || (y === x && j < i)), 0) < m ? 1 : 0));
      const of = h.reduce((s, x, i) => s + keep[i]! * x, 0) / m;
      return { own: draw.map((x, i) => [x, keep[i]!]), shared: [Math.max(LEAST_BETA, beta * (1 + p['beta_dpo_alpha']! * (of - state[0]!))), n / m], state };
    },
    passes: [
      {
        over: 'group',
        wgsl: `  var sum = 0.0;
  for (var j = 0u; j < n; j++) { sum += margin_of(j); }
  let mean = sum / f32(n);
  var squares = 0.0;
  for (var j = 0u; j < n; j++) { squares += (margin_of(j) - mean) * (margin_of(j) - mean); }
  if (args.training == 1u) {
    set_state(0u, F_beta_dpo_momentum * state(0u) + (1.0 - F_beta_dpo_momentum) * mean);
    if (n > 1u) { set_state(1u, F_beta_dpo_momentum * state(1u) + (1.0 - F_beta_dpo_momentum) * sqrt(squares / f32(n - 1u))); }
  }`,
      },
      {
        over: 'document',
        wgsl: `  var z = 0.0;
  if (state(1u) > 0.0) { z = (margin_of(i) - state(0u)) / state(1u); }
  set_own(i, 0u, -0.5 * z * z - log(-log(uniform_of(i))));`,
      },
      {
        over: 'document',
        wgsl: `  var rank = 0u;
  for (var j = 0u; j < n; j++) { if (own(j, 0u) > own(i, 0u) || (own(j, 0u) == own(i, 0u) && j < i)) { rank++; } }
  set_own(i, 1u, select(0.0, 1.0, rank < kept(n)));`,
      },
      {
        over: 'group',
        wgsl: `  var sum = 0.0;
  for (var j = 0u; j < n; j++) { if (own(j, 1u) > 0.0) { sum += margin_of(j); } }
  let m = f32(kept(n));
  set_shared(0u, max(${LEAST_BETA}, beta() * (1.0 + F_beta_dpo_alpha * (sum / m - state(0u)))));
  set_shared(1u, f32(n) / m);`,
      },
    ],
    functions: `fn margin_of(j: u32) -> f32 { return (a_of(j) - a_ref_of(j)) - (b_of(j) - b_ref_of(j)); }
fn kept(n: u32) -> u32 {
  if (args.training == 0u) { return n; }
  return max(1u, u32(floor((1.0 - F_beta_dpo_filter) * f32(n) + 1e-3)));
}`,
  },
  value: (d) => -d.group!.own[1]! * d.group!.shared[1]! * logSigmoid(d.group!.shared[0]! * margin(d)),
  gradients: (d) => {
    const [beta, weight] = [d.group!.shared[0]!, d.group!.own[1]! * d.group!.shared[1]!];
    const g = -weight * beta * σ(-beta * margin(d));
    return { c: [g, -g], k: [0, 0] };
  },
  wgsl: `  let used = shared_of(0u);
  let weight = own(1u) * shared_of(1u);
  let x = used * ((w.logp - w.ref_logp) - (l.logp - l.ref_logp));
  let g = -weight * used * sigmoid(-x);
  column = used;
  return Loss(weight * softplus(-x), g, -g, 0.0, 0.0);`,
};
