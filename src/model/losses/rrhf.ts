import type { ListBranch, LossDefinition } from './types.js';

/** ∂p/∂logp of p = logp / n^η. */
const share = (tokens: number, p: Record<string, number>): number => tokens ** -p['rrhf_length_penalty']!;

const score = (x: ListBranch, p: Record<string, number>): number => x.logp * share(x.tokens, p);

const RANKED = `fn share(tokens: f32) -> f32 {
  if (F_rrhf_length_penalty == 1.0) { return 1.0 / tokens; }
  return exp(-F_rrhf_length_penalty * log(tokens));
}
fn ranked(s: Side) -> f32 {
  if (F_rrhf_length_penalty == 1.0) { return s.logp / s.tokens; }
  return s.logp * share(s.tokens);
}`;

/**
 * RRHF (Yuan et al. 2023, arXiv 2304.05302): ranks length-averaged log-probs by a hinge on every two responses of different score, and fits the best one. On pairs, or on
 * lists of K responses with scores (dataset_format list), where a response pushes and is pushed by each of the others.
 */
export const rrhf: LossDefinition = {
  name: 'rrhf',
  title: 'RRHF',
  citation: 'Yuan et al. 2023, arXiv 2304.05302',
  formula: 'max(0, p_l - p_w) - λa, p = Σ log π / n^η; of lists Σ_{r_i < r_j} max(0, p_i - p_j) - λ a_best',
  semantics: 'the paper and its code',
  needs: { branches: 2, reference: 'none', scored: 'response', normalise: 'pairs' },
  adaptiveBeta: false,
  params: {
    rrhf_lambda: { default: 1, about: 'λ, weight of RRHF’s likelihood term' },
    rrhf_length_penalty: { default: 1, about: 'η, exponent of the number of tokens that a log-prob is divided by' },
  },
  value: (d, p) => Math.max(0, d.b * share(d.tokensRejected, p) - d.a * share(d.tokensChosen, p)) - p['rrhf_lambda']! * d.a,
  gradients: (d, p) => {
    const [w, l] = [share(d.tokensChosen, p), share(d.tokensRejected, p)];
    const wrong = d.b * l > d.a * w ? 1 : 0;
    return { c: [-wrong * w - p['rrhf_lambda']!, wrong * l], k: [0, 0] };
  },
  reward: { value: (logp, _ref, tokens) => logp / tokens, wgsl: 's.logp / s.tokens' },
  functions: RANKED,
  wgsl: `  let gap = ranked(l) - ranked(w);
  let wrong = select(0.0, 1.0, gap > 0.0);
  return Loss(max(0.0, gap) - F_rrhf_lambda * w.logp, -wrong * share(w.tokens) - F_rrhf_lambda, wrong * share(l.tokens), 0.0, 0.0);`,
  list: {
    formula: 'Σ_{r_i < r_j} max(0, p_i - p_j) - λ a_best, p = Σ log π / n^η',
    value: (list, p) => list.reduce((sum, x) => sum + list.reduce((n, y) => n + (x.score < y.score ? Math.max(0, score(x, p) - score(y, p)) : 0), 0), 0) - p['rrhf_lambda']! * list[0]!.logp,
    gradients: (list, p) => list.map((x, i) => {
      const pushes = list.reduce((n, y) => n + (x.score < y.score && score(x, p) > score(y, p) ? 1 : 0) - (y.score < x.score && score(y, p) > score(x, p) ? 1 : 0), 0);
      return pushes * share(x.tokens, p) - (i === 0 ? p['rrhf_lambda']! : 0);
    }),
    wgsl: `fn list_loss(first: u32, K: u32) -> f32 {
  var sum = 0.0;
  for (var i = first; i < first + K; i++) {
    for (var j = first; j < first + K; j++) {
      if (scores[i] < scores[j]) { sum += max(0.0, ranked(list_side(i)) - ranked(list_side(j))); }
    }
  }
  return sum - F_rrhf_lambda * list_side(first).logp;
}
fn list_c(i: u32, first: u32, K: u32) -> f32 {
  let own = list_side(first + i);
  let p = ranked(own);
  var pushes = 0.0;
  for (var j = first; j < first + K; j++) {
    let q = ranked(list_side(j));
    if (scores[first + i] < scores[j] && p > q) { pushes += 1.0; }
    if (scores[j] < scores[first + i] && q > p) { pushes -= 1.0; }
  }
  return pushes * share(own.tokens) - select(0.0, F_rrhf_lambda, i == 0u);
}`,
  },
};
