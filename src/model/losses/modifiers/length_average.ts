import type { DocumentScalars, LossDefinition } from '../types.js';

/** Losses of sums whose sums may be means instead; ipo, sigmoid_norm and the reference-free ones with means have them already. */
export const AVERAGED = ['sigmoid', 'robust', 'hinge', 'exo_pair', 'nca_pair', 'bco_pair', 'sppo_hard', 'apo_zero', 'apo_down', 'discopop'];

/** A loss of the length-averaged log-ratios u/n_w, v/n_l (LN-DPO, arXiv 2407.15229): `sigmoid` becomes `sigmoid_norm`. β is then of another size. */
export function lengthAverage(loss: LossDefinition): LossDefinition {
  const averaged = (d: DocumentScalars): DocumentScalars => ({ ...d, a: d.a / d.tokensChosen, aRef: d.aRef / d.tokensChosen, b: d.b / d.tokensRejected, bRef: d.bRef / d.tokensRejected });
  return {
    ...loss,
    name: `${loss.name} (length-averaged)`,
    title: `${loss.title} (length-averaged)`,
    citation: `${loss.citation}; length averages: arXiv 2407.15229`,
    formula: `${loss.formula} with u/n_w, v/n_l for u, v`,
    value: (d, p) => loss.value(averaged(d), p),
    gradients: (d, p) => {
      const { c, k } = loss.gradients(averaged(d), p);
      return { c: [c[0] / d.tokensChosen, c[1] / d.tokensRejected], k };
    },
    functions: `${loss.functions ?? ''}
fn summed(w: Side, l: Side, beta: f32) -> Loss {
${loss.wgsl}
}`,
    wgsl: `  var mw = w;
  var ml = l;
  mw.logp = w.logp / w.tokens;
  mw.ref_logp = w.ref_logp / w.tokens;
  ml.logp = l.logp / l.tokens;
  ml.ref_logp = l.ref_logp / l.tokens;
  let r = summed(mw, ml, beta);
  return Loss(r.value, r.cw / w.tokens, r.cl / l.tokens, r.kw, r.kl);`,
  };
}
