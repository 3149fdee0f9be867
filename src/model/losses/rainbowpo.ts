import { logSigmoid, sigmoid as σ, type DocumentScalars, type LossDefinition } from './types.js';

export const LINKS = ['sigmoid', 'cauchy', 'square', 'hinge'] as const;
type Link = (typeof LINKS)[number];

/** −log of a link function, or a square or hinge on X itself, and its slope. */
const LINK: Record<Link, { value(x: number, λ: number): number; slope(x: number, λ: number): number; wgsl: [string, string]; formula: string }> = {
  sigmoid: {
    value: (x, λ) => -(1 - λ) * logSigmoid(x) - λ * logSigmoid(-x),
    slope: (x, λ) => -(1 - λ) * σ(-x) + λ * σ(x),
    wgsl: ['(1.0 - F_label_smoothing) * softplus(-x) + F_label_smoothing * softplus(x)', 'F_label_smoothing * sigmoid(x) - (1.0 - F_label_smoothing) * sigmoid(-x)'],
    formula: '-(1-λ) log σ(X) - λ log σ(-X)',
  },
  cauchy: {
    // atan(x) + π/2 = atan(-1/x) for x < 0: no cancellation far out.
    value: (x) => -Math.log((x < 0 ? Math.atan(-1 / x) : Math.atan(x) + Math.PI / 2) / Math.PI),
    slope: (x) => -1 / ((1 + x * x) * (x < 0 ? Math.atan(-1 / x) : Math.atan(x) + Math.PI / 2)),
    wgsl: ['-log(cauchy(x) / 3.14159265)', '-1.0 / ((1.0 + x * x) * cauchy(x))'],
    formula: '-log(atan(X)/π + ½)',
  },
  square: { value: (x) => (x - 0.5) ** 2, slope: (x) => 2 * (x - 0.5), wgsl: ['(x - 0.5) * (x - 0.5)', '2.0 * (x - 0.5)'], formula: '(X - ½)²' },
  hinge: { value: (x) => Math.max(0, 0.5 - x), slope: (x) => (x < 0.5 ? -1 : 0), wgsl: ['max(0.0, 0.5 - x)', 'select(0.0, -1.0, x < 0.5)'], formula: 'max(0, ½ - X)' },
};

/** atan(x) + π/2. WGSL's atan may be wrong by 4096 ulp; this is its series within tan(π/8), whose 10th term is below 1e-8. */
const CAUCHY = `fn atan_series(x: f32) -> f32 {
  let z = x * x;
  var sum = 1.0 / 19.0;
  for (var k = 8; k >= 0; k--) { sum = fma(-z, sum, 1.0 / f32(2 * k + 1)); }
  return x * sum;
}
fn atan_positive(x: f32) -> f32 {
  if (x > 2.41421356) { return 1.57079633 - atan_series(1.0 / x); }
  if (x > 0.41421356) { return 0.785398163 + atan_series((x - 1.0) / (x + 1.0)); }
  return atan_series(x);
}
fn cauchy(x: f32) -> f32 {
  if (x < 0.0) { return atan_positive(-1.0 / x); }
  return 1.57079633 + atan_positive(x);
}`;

/** Entropies below this share of log V count as it: φ stays finite for a reference that is certain of every token. */
const LEAST_ENTROPY = 1e-6;

interface Components { link: Link; average: boolean; context: boolean; reference: boolean }

function rainbow({ link, average, context, reference }: Components): LossDefinition {
  const { value, slope, wgsl, formula } = LINK[link];
  const length = (n: number): number => (average ? n : 1);
  const φ = (d: DocumentScalars, p: Record<string, number>): number => {
    if (!context) return 1;
    const { chosen, rejected, logVocab } = d.terms!;
    return -p['rainbow_context']! * Math.log(Math.max(LEAST_ENTROPY, (0.5 * (chosen.refEntropy / d.tokensChosen + rejected.refEntropy / d.tokensRejected)) / logVocab));
  };
  const x = (d: DocumentScalars, p: Record<string, number>): number => {
    const α = p['rainbow_alpha']!;
    return d.beta * φ(d, p) * ((d.a - α * d.aRef) / length(d.tokensChosen) - (d.b - α * d.bRef) / length(d.tokensRejected) - (1 - α) * p['rainbow_eta']!);
  };
  const over = (n: string): string => (average ? `/ ${n}.tokens` : '');
  return {
    name: 'rainbowpo',
    title: 'RainbowPO',
    citation: 'Zhao et al. 2024, arXiv 2410.04203',
    semantics: 'the official code',
    formula: `${formula}, X = βφ[${average ? 'a/n_w - b/n_l - α(a_ref/n_w - b_ref/n_l)' : 'a - b - α(a_ref - b_ref)'} - (1-α)η]${context ? ', φ = -c log H̄, H̄ the reference’s mean entropy / log V' : ''}`,
    needs: { branches: 2, reference: context ? 'hidden' : reference ? 'logps' : 'none', scored: 'response', normalise: 'pairs', ...(context ? { refEntropy: true } : {}) },
    adaptiveBeta: false,
    params: {
      rainbow_alpha: { default: 0.25, about: 'α, the reference’s share: 1 is DPO’s reference, 0 none' },
      rainbow_eta: { default: 0.1, about: 'η, home advantage inside β (the paper’s γ is βη)' },
      rainbow_context: { default: 0.29, about: 'c of the contextual scale φ = -c log H̄; 0: φ = 1' },
      label_smoothing: { default: 0, about: 'λ, the assumed share of flipped labels, in [0, 0.5); of the sigmoid link' },
    },
    options: {
      rainbow_link: { default: 'sigmoid', about: `${LINKS.join(', ')}` },
      rainbow_average: { default: true, about: 'length averages of the log-probs' },
    },
    resolve: (keys) => rainbow({
      link: keys['rainbow_link'] as Link, average: keys['rainbow_average'] as boolean,
      context: keys['rainbow_context'] !== 0, reference: keys['rainbow_alpha'] !== 0,
    }),
    value: (d, p) => value(x(d, p), p['label_smoothing'] ?? 0),
    gradients: (d, p) => {
      const g = d.beta * φ(d, p) * slope(x(d, p), p['label_smoothing'] ?? 0);
      return { c: [g / length(d.tokensChosen), -g / length(d.tokensRejected)], k: [0, 0] };
    },
    reward: {
      value: (logp, ref, tokens, beta) => (beta * (reference ? logp - ref : logp)) / length(tokens),
      wgsl: `beta * (s.logp${reference ? ' - s.ref_logp' : ''}) ${over('s')}`,
    },
    ...(link === 'cauchy' ? { functions: CAUCHY } : {}),
    wgsl: `  let phi = ${context ? `-F_rainbow_context * log(max(f32(${LEAST_ENTROPY}), 0.5 * (w.ref_entropy / w.tokens + l.ref_entropy / l.tokens) / LOG_VOCAB))` : '1.0'};
  let x = beta * phi * ((w.logp - F_rainbow_alpha * w.ref_logp) ${over('w')} - (l.logp - F_rainbow_alpha * l.ref_logp) ${over('l')} - (1.0 - F_rainbow_alpha) * F_rainbow_eta);
  let g = beta * phi * (${wgsl[1]});
  return Loss(${wgsl[0]}, g ${over('w')}, -g ${over('l')}, 0.0, 0.0);`,
  };
}

/**
 * RainbowPO (Zhao et al. 2024, arXiv 2410.04203) in its components: length averages, link function, home advantage, a mixed reference, contextual scaling. Data
 * made by rejection sampling (RSO) and the SFT term are the data's and `rpo_alpha`'s. The paper's final runs: β 10, η 0.1 to 0.3, α 0.25, learning rate 1e-6.
 */
export const rainbowpo = rainbow({ link: 'sigmoid', average: true, context: true, reference: true });
