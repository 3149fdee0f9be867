import { logSigmoid, sigmoid as σ, type DocumentScalars, type LossDefinition } from './types.js';

/** The largest mean log-prob the odds are taken of: at 0 they are infinite. */
const TOP = -1e-6;

const log1mexp = (x: number): number => (x > -Math.LN2 ? Math.log(-Math.expm1(x)) : Math.log1p(-Math.exp(x)));
/** log odds of a mean log-prob. */
const logOdds = (mean: number): number => Math.min(mean, TOP) - log1mexp(Math.min(mean, TOP));
/** Its slope, 1 / (1 - e^mean). */
const slope = (mean: number): number => (mean > TOP ? 0 : -1 / Math.expm1(mean));
const odds = (d: DocumentScalars): number => logOdds(d.a / d.tokensChosen) - logOdds(d.b / d.tokensRejected);

/**
 * ORPO (Hong et al. 2024, arXiv 2403.07691, Eq. 6): the log odds ratio of the two responses' mean log-probs beside the negative log-likelihood of prompt and
 * chosen response, a mean over those tokens of the optimiser step. β is the paper's λ.
 */
export const orpo: LossDefinition = {
  name: 'orpo',
  title: 'ORPO',
  citation: 'Hong et al. 2024, arXiv 2403.07691, Eq. 6; the NLL is over prompt and chosen response as in TRL',
  semantics: 'TRL (experimental); the NLL is a mean over the tokens of the optimiser step',
  formula: 'NLL(prompt, chosen) - β log σ(o), o = log odds(a/n_w) - log odds(b/n_l)',
  needs: { branches: 2, reference: 'none', scored: 'all', normalise: 'pairs' },
  adaptiveBeta: false,
  params: {},
  column: { name: 'log_odds_chosen', value: odds, also: { name: 'log_odds_ratio', of: logSigmoid } },
  value: (d) => -(d.a + (d.prompt ?? 0)) * d.perToken - d.beta * logSigmoid(odds(d)),
  gradients: (d) => {
    const g = -d.beta * σ(-odds(d));
    return { c: [(g * slope(d.a / d.tokensChosen)) / d.tokensChosen - d.perToken, (-g * slope(d.b / d.tokensRejected)) / d.tokensRejected], k: [0, 0], prompt: -d.perToken };
  },
  reward: { value: (logp, _ref, tokens, beta) => (beta * logp) / tokens, wgsl: 'beta * s.logp / s.tokens' },
  functions: `fn log1mexp(x: f32) -> f32 {
  if (x > -0.6931472) { return log(-expm1(x)); }
  return log1p(-exp(x));
}
fn log_odds(mean: f32) -> f32 {
  let x = min(mean, ${TOP});
  return x - log1mexp(x);
}
fn odds_slope(mean: f32) -> f32 {
  if (mean > ${TOP}) { return 0.0; }
  return -1.0 / expm1(mean);
}`,
  wgsl: `  let o = log_odds(w.logp / w.tokens) - log_odds(l.logp / l.tokens);
  let g = -beta * sigmoid(-o);
  column = o;
  prompt_c = -args.per_token;
  return Loss(beta * softplus(-o) - args.per_token * (w.logp + prompt.logp), g * odds_slope(w.logp / w.tokens) / w.tokens - args.per_token, -g * odds_slope(l.logp / l.tokens) / l.tokens, 0.0, 0.0);`,
};
