import type { DocumentScalars, LossDefinition } from '../types.js';

/** ω(y^w) ω(y^l), ω(y) = exp(1/n Σ_t [log π(y_t) - log Σ_j π_t(j)²]): how near the policy's own samples a pair lies. */
const weightOf = (d: DocumentScalars): number => Math.exp((d.terms?.chosen.sharpness ?? 0) / d.tokensChosen + (d.terms?.rejected.sharpness ?? 0) / d.tokensRejected);

/** WPO (Zhou et al. 2024, arXiv 2406.11827): a pair's loss times the weight of its responses under the policy, which is constant in the gradient; TRL's form since 0.29 (no limit at 1). */
export function weightedByPolicy(loss: LossDefinition): LossDefinition {
  return {
    ...loss,
    name: `${loss.name} (WPO)`,
    title: `${loss.title} (WPO)`,
    citation: `${loss.citation}; WPO: Zhou et al. 2024, arXiv 2406.11827`,
    formula: `sg[ω_w ω_l]·[${loss.formula}]`,
    needs: { ...loss.needs, sharpness: true },
    value: (d, p) => weightOf(d) * loss.value(d, p),
    gradients: (d, p) => {
      const { c, k } = loss.gradients(d, p);
      const ω = weightOf(d);
      return { c: [ω * c[0], ω * c[1]], k: [ω * k[0], ω * k[1]] };
    },
    functions: `${loss.functions ?? ''}
fn unweighted(w: Side, l: Side, beta: f32) -> Loss {
${loss.wgsl}
}`,
    wgsl: `  let r = unweighted(w, l, beta);
  let omega = exp(w.sharpness / w.tokens + l.sharpness / l.tokens);
  return Loss(omega * r.value, omega * r.cw, omega * r.cl, omega * r.kw, omega * r.kl);`,
  };
}
