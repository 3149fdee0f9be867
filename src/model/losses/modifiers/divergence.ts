import type { DocumentScalars, LossDefinition } from '../types.js';

export const DIVERGENCE_TYPES = ['reverse_kl', 'forward_kl', 'js_divergence', 'alpha_divergence'] as const;
export type Divergence = (typeof DIVERGENCE_TYPES)[number];

/** Losses that are functions of the two scores alone, so that another divergence's score may take the log-ratio's place. */
export const DIVERGENCES = { losses: ['sigmoid', 'robust', 'hinge', 'ipo', 'sigmoid_norm', 'exo_pair', 'nca_pair', 'bco_pair', 'sppo_hard', 'discopop'] };

/** Exponents beyond this are held there (as TRL does for the α-divergence), with a slope of 0: e^80 is about the largest power f32 squares to. */
export const LARGEST_EXPONENT = 80;

interface Score {
  value(u: number): number;
  slope(u: number): number;
  /** Bodies of `fn score(u: f32) -> f32` and `fn score_slope(u: f32) -> f32`. */
  wgsl: [string, string];
}

/** e^x held at the largest exponent; its slope there is 0. */
const held = (x: number): [number, number] => [Math.exp(Math.min(x, LARGEST_EXPONENT)), x > LARGEST_EXPONENT ? 0 : 1];

function scoreOf(kind: Divergence, α: number): Score {
  const limit = `f32(${LARGEST_EXPONENT})`;
  if (kind === 'forward_kl') {
    return {
      value: (u) => 1 - held(-u)[0],
      slope: (u) => held(-u)[0] * held(-u)[1],
      wgsl: [`held = held || -u > ${limit}; return -exp(min(-u, ${limit}));`, `return select(exp(min(-u, ${limit})), 0.0, -u > ${limit});`],
    };
  }
  if (kind === 'js_divergence') {
    return {
      value: (u) => Math.LN2 - (Math.max(-u, 0) + Math.log1p(Math.exp(-Math.abs(u)))),
      slope: (u) => (u >= 0 ? Math.exp(-u) / (1 + Math.exp(-u)) : 1 / (1 + Math.exp(u))),
      wgsl: [`return f32(${Math.LN2}) - softplus(-u);`, 'return sigmoid(-u);'],
    };
  }
  const power = `f32(${α - 1}) * u`;
  return {
    value: (u) => (held((α - 1) * u)[0] - 1) / (α - 1),
    slope: (u) => held((α - 1) * u)[0] * held((α - 1) * u)[1],
    wgsl: [`held = held || ${power} > ${limit}; return exp(min(${power}, ${limit})) / f32(${α - 1});`, `return select(exp(min(${power}, ${limit})), 0.0, ${power} > ${limit});`],
  };
}

/**
 * A loss under another f-divergence (Wang et al. 2024, arXiv 2309.16240): the log-ratio u of a response is replaced by the score s(u), and the
 * gradient gains s'(u). forward_kl: 1 - e^(-u); js_divergence: log 2 + log σ(u); alpha_divergence: (e^((α-1)u) - 1)/(α-1): 0 at u = 0, as TRL has them
 * by 1.16 (losses.md 2.2 has them without the constants, which only length averages see: ipo, sigmoid_norm).
 */
export function divergence(loss: LossDefinition, kind: Divergence, α: number): LossDefinition {
  const s = scoreOf(kind, α);
  const scored = (d: DocumentScalars): DocumentScalars => ({ ...d, a: s.value(d.a - d.aRef), aRef: 0, b: s.value(d.b - d.bRef), bRef: 0 });
  const name = kind === 'alpha_divergence' ? `α-divergence, α = ${α}` : kind.replace('_', ' ');
  return {
    ...loss,
    name: `${loss.name} (${name})`,
    title: `${loss.title} (${name})`,
    citation: `${loss.citation}; f-divergence: Wang et al. 2024, arXiv 2309.16240`,
    formula: `${loss.formula} with s(u), s(v) for u, v`,
    holdsScores: kind === 'forward_kl' || kind === 'alpha_divergence',
    value: (d, p) => loss.value(scored(d), p),
    gradients: (d, p) => {
      const { c, k } = loss.gradients(scored(d), p);
      return { c: [c[0] * s.slope(d.a - d.aRef), c[1] * s.slope(d.b - d.bRef)], k };
    },
    functions: `fn score(u: f32) -> f32 { ${s.wgsl[0]} }
fn score_slope(u: f32) -> f32 { ${s.wgsl[1]} }
fn inner(w: Side, l: Side, beta: f32) -> Loss {
${loss.wgsl}
}`,
    wgsl: `  let u = w.logp - w.ref_logp;
  let v = l.logp - l.ref_logp;
  var sw = w;
  var sl = l;
  sw.logp = score(u);
  sw.ref_logp = 0.0;
  sl.logp = score(v);
  sl.ref_logp = 0.0;
  let r = inner(sw, sl, beta);
  return Loss(r.value, r.cw * score_slope(u), r.cl * score_slope(v), r.kw, r.kl);`,
  };
}
