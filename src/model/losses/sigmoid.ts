import { logSigmoid, sigmoid as σ, type DocumentScalars, type LossDefinition } from './types.js';

/** Un-scaled margin h = (a − a_ref) − (b − b_ref). */
export const margin = (d: DocumentScalars): number => d.a - d.aRef - (d.b - d.bRef);

/** DPO (Rafailov et al. 2023, arXiv 2305.18290, Eq. 7) with conservative label smoothing (Mitchell 2023). */
export const sigmoid: LossDefinition = {
  name: 'sigmoid',
  title: 'DPO',
  citation: 'Rafailov et al. 2023, arXiv 2305.18290, Eq. 7; label smoothing: Mitchell 2023, ericmitchell.ai/cdpo.pdf',
  formula: '-(1-λ) log σ(βh) - λ log σ(-βh)',
  semantics: 'TRL since 0.29, but label_smoothing has an effect, as up to 0.28',
  needs: { branches: 2, reference: 'logps', scored: 'response', normalise: 'pairs' },
  adaptiveBeta: false,
  params: { label_smoothing: { default: 0, about: 'λ, the assumed share of flipped labels, in [0, 0.5)' } },
  value: (d, p) => {
    const x = d.beta * margin(d);
    const λ = p['label_smoothing']!;
    return -(1 - λ) * logSigmoid(x) - λ * logSigmoid(-x);
  },
  gradients: (d, p) => {
    const x = d.beta * margin(d);
    // (1-λ)σ(-x) - λσ(x) keeps the small factor where σ(x) - (1-λ) would cancel.
    const λ = p['label_smoothing']!;
    const g = -d.beta * ((1 - λ) * σ(-x) - λ * σ(x));
    return { c: [g, -g], k: [0, 0] };
  },
  wgsl: `  let x = beta * ((w.logp - w.ref_logp) - (l.logp - l.ref_logp));
  let value = (1.0 - F_label_smoothing) * softplus(-x) + F_label_smoothing * softplus(x);
  let g = -beta * ((1.0 - F_label_smoothing) * sigmoid(-x) - F_label_smoothing * sigmoid(x));
  return Loss(value, g, -g, 0.0, 0.0);`,
};
