import { logSigmoid, sigmoid as σ, type DocumentScalars, type LossDefinition, type TokenWeights } from './types.js';

interface Prior { reference: boolean; kl: boolean; average: boolean; klGradient: 'both' | 'rejected'; tokenWeights?: TokenWeights }

function withPrior({ reference, kl, average, klGradient, tokenWeights }: Prior): LossDefinition {
  const length = (n: number): number => (average ? n : 1);
  const score = (logp: number, ref: number, kls: number, n: number, beta: number, p: Record<string, number>): number =>
    (beta * (logp - p['mi_reference']! * ref + p['mi_kl']! * kls)) / length(n) + p['mi_length']! * n;
  const x = (d: DocumentScalars, p: Record<string, number>): number =>
    score(d.a, d.aRef, d.klChosen, d.tokensChosen, d.beta, p) - score(d.b, d.bRef, d.klRejected, d.tokensRejected, d.beta, p) - p['mi_margin']!;
  const over = average ? ' / s.tokens' : '';
  return {
    name: 'mi_dpo',
    title: 'MI-DPO',
    citation: 'Tutnov et al. 2025, arXiv 2501.01544',
    semantics: 'the paper',
    formula: `-log σ(S_w - S_l - γ), S = β(log π - log ζ), log ζ = ρ log π_ref - κ Σ KL(ref‖policy)${average ? ', over n' : ''} - (λ/β)n`,
    needs: {
      branches: 2, reference: kl ? 'hidden' : reference ? 'logps' : 'none', scored: 'response', normalise: 'pairs',
      ...(kl ? { klGradient } : {}), ...(tokenWeights ? { tokenWeights } : {}),
    },
    adaptiveBeta: false,
    params: {
      mi_reference: { default: 1, about: 'ρ of the prior: weight of the reference’s log-prob; 0: none' },
      mi_kl: { default: 0, about: 'κ of the prior: weight of the sequence’s KL(ref‖policy)' },
      mi_length: { default: 0, about: 'λ of the prior: what the chosen response’s length earns, per token' },
      mi_margin: { default: 0, about: 'γ, half of it in the prior of each side' },
    },
    options: {
      mi_average: { default: false, about: 'log-probs and KLs as means over a response’s tokens' },
      mi_kl_gradient: { default: 'both', about: 'both, or rejected: no gradient through the chosen response’s KL' },
      mi_weights: { default: 'none', about: 'token weights inside the sums: none, data (as sdpo has them), or mapo (sparsepo’s mask)' },
    },
    resolve: (keys) => withPrior({
      reference: keys['mi_reference'] !== 0, kl: keys['mi_kl'] !== 0, average: keys['mi_average'] as boolean, klGradient: keys['mi_kl_gradient'] as Prior['klGradient'],
      ...(keys['mi_weights'] === 'data' || keys['mi_weights'] === 'mapo' ? { tokenWeights: { from: keys['mi_weights'] } } : {}),
    }),
    value: (d, p) => -logSigmoid(x(d, p)),
    gradients: (d, p) => {
      const g = -d.beta * σ(-x(d, p));
      const [w, l] = [g / length(d.tokensChosen), g / length(d.tokensRejected)];
      return { c: [w, -l], k: kl ? [klGradient === 'both' ? p['mi_kl']! * w : 0, -p['mi_kl']! * l] : [0, 0] };
    },
    reward: {
      value: (logp, ref, tokens, beta) => (beta * (reference ? logp - ref : logp)) / length(tokens),
      wgsl: `beta * (s.logp${reference ? ' - s.ref_logp' : ''})${over}`,
    },
    functions: `fn prior_score(s: Side, beta: f32) -> f32 { return beta * (s.logp - F_mi_reference * s.ref_logp + F_mi_kl * s.kl)${over} + F_mi_length * s.tokens; }`,
    wgsl: `  let x = prior_score(w, beta) - prior_score(l, beta) - F_mi_margin;
  let g = -beta * sigmoid(-x);
  let gw = g${over.replace('s.', 'w.')};
  let gl = g${over.replace('s.', 'l.')};
  return Loss(softplus(-x), gw, -gl, ${kl && klGradient === 'both' ? 'F_mi_kl * gw' : '0.0'}, ${kl ? '-F_mi_kl * gl' : '0.0'});`,
  };
}

/**
 * MI-DPO (Tutnov et al. 2025, arXiv 2501.01544): DPO's loss with a prior ζ in the reference's place, α = 1/β. What its keys make of it: ρ = 1 is DPO; with λ
 * R-DPO; ρ = 0, means and γ SimPO; κ = 1 TDPO1; κ = α and `mi_kl_gradient: rejected` TDPO2; weights per token on top of κ = 1 SparsePO; 0 < ρ < 1 with means RainbowPO.
 */
export const mi_dpo = withPrior({ reference: true, kl: false, average: false, klGradient: 'both' });
