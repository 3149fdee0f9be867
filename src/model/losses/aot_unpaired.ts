import { logSigmoid, sigmoid as σ, type GroupDefinition, type GroupMember, type LossDefinition } from './types.js';

/** cDPO's loss at x and its slope. */
export const cDpo = (x: number, λ: number): { value: number; slope: number } => ({ value: -(1 - λ) * logSigmoid(x) - λ * logSigmoid(-x), slope: -((1 - λ) * σ(-x) - λ * σ(x)) });

/** Rank of each among all, by counting; equal ones in their order. */
const ranks = (x: number[]): number[] => x.map((v, i) => x.reduce((n, other, j) => n + Number(other < v || (other === v && j < i)), 0));

/**
 * Two numbers of each member, both sorted over the group: own[0] is the second number that has the rank of this member's first, own[1] the first number
 * that has the rank of its second. Ranks by counting, own[2] and own[3].
 */
export function matched(first: (m: GroupMember) => number, second: (m: GroupMember) => number, firstWgsl: string, secondWgsl: string): GroupDefinition {
  const at = (text: string, i: string): string => text.replaceAll('(i)', `(${i})`);
  return {
    of: 'documents', least: 2, state: {}, detached: false,
    evaluate: (members, state) => {
      const [x, y] = [members.map(first), members.map(second)];
      const [rx, ry] = [ranks(x), ranks(y)];
      return { own: members.map((_, i) => [y[ry.indexOf(rx[i]!)]!, x[rx.indexOf(ry[i]!)]!, rx[i]!, ry[i]!]), shared: [], state };
    },
    passes: [
      {
        over: 'document',
        wgsl: `  let x = ${firstWgsl};
  let y = ${secondWgsl};
  var rank = vec2f(0.0);
  for (var j = 0u; j < n; j++) {
    let other = ${at(firstWgsl, 'j')};
    let another = ${at(secondWgsl, 'j')};
    if (other < x || (other == x && j < i)) { rank.x += 1.0; }
    if (another < y || (another == y && j < i)) { rank.y += 1.0; }
  }
  set_own(i, 2u, rank.x);
  set_own(i, 3u, rank.y);`,
      },
      {
        over: 'document',
        wgsl: `  for (var j = 0u; j < n; j++) {
    if (own(j, 3u) == own(i, 2u)) { set_own(i, 0u, ${at(secondWgsl, 'j')}); }
    if (own(j, 2u) == own(i, 3u)) { set_own(i, 1u, ${at(firstWgsl, 'j')}); }
  }`,
      },
    ],
  };
}

/** AOT without pairs (Melnyk et al. 2024, arXiv 2406.05882): the chosen responses' rewards, sorted, are to exceed the rejected ones', sorted. */
export const aot_unpaired: LossDefinition = {
  name: 'aot_unpaired',
  title: 'AOT, unpaired',
  citation: 'Melnyk et al. 2024, arXiv 2406.05882 (unpaired); sorted over group_size pairs',
  semantics: 'TRL since 0.29, over group_size',
  formula: '-(1-λ) log σ(βD) - λ log σ(-βD), D_k = u_(k) - v_(k), both sorted',
  needs: { branches: 2, reference: 'logps', scored: 'response', normalise: 'pairs' },
  adaptiveBeta: false,
  params: { label_smoothing: { default: 0, about: 'λ, the assumed share of flipped labels, in [0, 0.5)' } },
  group: matched((m) => m.a - m.aRef, (m) => m.b - m.bRef, 'a_of(i) - a_ref_of(i)', 'b_of(i) - b_ref_of(i)'),
  // The term of this document's u; the gradient of its v is that of the term which v has a part in.
  value: (d, p) => cDpo(d.beta * (d.a - d.aRef - d.group!.own[0]!), p['label_smoothing']!).value,
  gradients: (d, p) => {
    const λ = p['label_smoothing']!;
    const g = d.beta * cDpo(d.beta * (d.a - d.aRef - d.group!.own[0]!), λ).slope;
    return { c: [g, -d.beta * cDpo(d.beta * (d.group!.own[1]! - (d.b - d.bRef)), λ).slope], k: [0, 0] };
  },
  functions: 'fn slope(x: f32) -> f32 { return -((1.0 - F_label_smoothing) * sigmoid(-x) - F_label_smoothing * sigmoid(x)); }',
  wgsl: `  let x = beta * ((w.logp - w.ref_logp) - own(0u));
  let y = beta * (own(1u) - (l.logp - l.ref_logp));
  let value = (1.0 - F_label_smoothing) * softplus(-x) + F_label_smoothing * softplus(x);
  return Loss(value, beta * slope(x), -beta * slope(y), 0.0, 0.0);`,
};
