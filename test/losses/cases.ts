import { hasTerms, type DocumentScalars, type GroupMember, type LossDefinition } from '../../src/model/losses/types.js';

/** A configuration without modifiers. */
export const plain = { rpo_alpha: 0, f_divergence_type: 'reverse_kl', f_alpha_divergence_coef: 0.5 } as const;

export const scalars = (u: number, v: number, beta = 0.1): DocumentScalars => ({ a: u, b: v, aRef: 0, bRef: 0, tokensChosen: 7, tokensRejected: 11, beta, perToken: 1 / 8, klChosen: 0, klRejected: 0 });

/** The documents’ random number. */
export const UNIFORM = 0.37;
/** The document as a group sees it. */
export const memberOf = (d: DocumentScalars, loss: LossDefinition): GroupMember => {
  const base = { desirable: d.desirable ?? true, uniform: UNIFORM };
  // Some other document's response, 0.9 above the reference's.
  return loss.group?.of === 'mismatched' ? { ...base, a: -11.1, aRef: -12, b: 0, bRef: 0 } : { ...base, a: d.a, aRef: d.aRef, b: d.b, bRef: d.bRef };
};

/** The document with what a group of it alone comes to; `shared` in place of its own, where given. */
export function grouped(loss: LossDefinition, d: DocumentScalars, p: Record<string, number>, shared?: number[]): DocumentScalars {
  if (!loss.group) return d;
  const result = loss.group.evaluate([memberOf(d, loss)], Object.values(loss.group.state), p, { beta: d.beta, training: true });
  return { ...d, group: { own: result.own[0]!, shared: shared ?? result.shared } };
}

/** Margins from a reference, and lengths that no ratio hides; a hinge's corner (βh = 1) is not among them. */
export function casesOf(loss: LossDefinition): DocumentScalars[] {
  const cases: DocumentScalars[] = [];
  for (const h of [0, 1e-6, -1e-6, 0.7, -3, 51, -51, 1e4, -1e4]) {
    for (const beta of [0.01, 0.5]) {
      for (const [n, m] of [[7, 11], [1, 2000]] as const) {
        cases.push({
          ...scalars(h / 2 - 20, -h / 2 - 21.3, beta), aRef: -2, bRef: -2.5, tokensChosen: n, tokensRejected: m, klChosen: 1.25, klRejected: 3.5, desirable: loss.needs.unpaired ? n === 1 : true, ...(loss.needs.unpaired && n !== 1 ? { weight: 1.75 } : {}),
          ...(loss.needs.scored === 'all' ? { prompt: -33.5 } : {}),
          ...(hasTerms(loss.needs) ? { terms: { chosen: { weight: 0.7 * n, klWeight: 0.6 * n, sharpness: -0.3 * n, refEntropy: 1.1 * n }, rejected: { weight: 0.9 * m, klWeight: 0.8 * m, sharpness: 0.2 * m, refEntropy: 0.4 * m }, logVocab: Math.log(37) } } : {}),
        });
      }
    }
  }
  // Log-probs of a likelihood are below 0.
  return loss.needs.reference === 'none' && loss.needs.scored === 'all' ? cases.filter((d) => d.a < 0 && d.b < 0) : cases;
}
