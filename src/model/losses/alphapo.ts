import { logSigmoid, sigmoid as σ, type DocumentScalars, type LossDefinition } from './types.js';

/** Exponents are held here, with a slope of 0 beyond: a response of mean log-prob -80/α is none any more. */
const LARGEST = 80;

const parts = (d: DocumentScalars, p: Record<string, number>): { x: number; slopeChosen: number; slopeRejected: number } => {
  const α = p['alphapo_alpha']!;
  const [mw, ml] = [d.a / d.tokensChosen, d.b / d.tokensRejected];
  // R(m) = (1 - e^(-αm)) / α; α = 0 is SimPO's own reward.
  const reward = (m: number): number => (α === 0 ? m : -Math.expm1(Math.min(-α * m, LARGEST)) / α);
  const slope = (m: number): number => (-α * m > LARGEST ? 0 : Math.exp(-α * m));
  return { x: d.beta * (reward(mw) - reward(ml)) - p['simpo_gamma']!, slopeChosen: slope(mw) / d.tokensChosen, slopeRejected: slope(ml) / d.tokensRejected };
};

/** AlphaPO (Gupta et al. 2025, arXiv 2501.03884): SimPO with the reward (1 - p^(-α)) / α of the mean log-prob; α bends it. No reference. */
export const alphapo: LossDefinition = {
  name: 'alphapo',
  title: 'AlphaPO',
  citation: 'Gupta et al. 2025, arXiv 2501.03884',
  formula: '-log σ(X), X = β(R(a/n_w) - R(b/n_l)) - γ, R(m) = (1 - e^(-αm))/α',
  semantics: 'TRL (experimental)',
  needs: { branches: 2, reference: 'none', scored: 'response', normalise: 'pairs' },
  adaptiveBeta: false,
  params: {
    alphapo_alpha: { default: 0.25, about: 'α of AlphaPO’s reward; 0 is SimPO' },
    simpo_gamma: { default: 0.5, about: 'γ, the target reward margin (the paper: 0.1)' },
  },
  value: (d, p) => -logSigmoid(parts(d, p).x),
  gradients: (d, p) => {
    const { x, slopeChosen, slopeRejected } = parts(d, p);
    const g = -d.beta * σ(-x);
    return { c: [g * slopeChosen, -g * slopeRejected], k: [0, 0] };
  },
  reward: { value: (logp, _ref, tokens, beta) => (beta * logp) / tokens, wgsl: 'beta * s.logp / s.tokens' },
  functions: `fn alphapo_exponent(s: Side) -> f32 { return -F_alphapo_alpha * s.logp / s.tokens; }
fn alphapo_power(x: f32) -> f32 { return exp(min(x, f32(${LARGEST}))); }
fn alphapo_slope(x: f32) -> f32 { return select(exp(min(x, f32(${LARGEST}))), 0.0, x > f32(${LARGEST})); }`,
  wgsl: `  let xw = alphapo_exponent(w);
  let xl = alphapo_exponent(l);
  var apart = w.logp / w.tokens - l.logp / l.tokens;
  if (F_alphapo_alpha != 0.0) { apart = (alphapo_power(xl) - alphapo_power(xw)) / F_alphapo_alpha; }
  let x = beta * apart - F_simpo_gamma;
  let g = -beta * sigmoid(-x);
  return Loss(softplus(-x), g * alphapo_slope(xw) / w.tokens, -g * alphapo_slope(xl) / l.tokens, 0.0, 0.0);`,
};
