import t, { type Test } from 'tap';
import { losses, type LossName } from '../../src/model/losses/index.js';
import { composeLoss } from '../../src/model/losses/modifiers/compose.js';
import type { DocumentScalars, LossDefinition } from '../../src/model/losses/types.js';
import { plain, scalars } from './cases.js';

/** The same losses in two files: values, gradients of log-probs and of KLs. */
function equal(t: Test, what: string, a: LossDefinition, b: LossDefinition, pa: Record<string, number>, pb: Record<string, number>): void {
  const side = { weight: 1, klWeight: 1, sharpness: 0 };
  for (const h of [0, 1e-6, -1e-6, 0.7, -3, 50, -50, 1e4]) for (const beta of [0.1, 2]) for (const [n, m] of [[7, 11], [1, 2000]] as const) {
    const d: DocumentScalars = { ...scalars(h / 2 - 20, -h / 2 - 21.3, beta), aRef: -2, bRef: -2.5, tokensChosen: n, tokensRejected: m, klChosen: 1.25, klRejected: 3.5, terms: { chosen: { ...side, refEntropy: 2.5 * n }, rejected: { ...side, refEntropy: 1.9 * m }, logVocab: Math.log(37) } };
    const [ga, gb] = [a.gradients(d, pa), b.gradients(d, pb)];
    const pairs = [[a.value(d, pa), b.value(d, pb)], ...[0, 1].flatMap((i) => [[ga.c[i]!, gb.c[i]!], [ga.k[i]!, gb.k[i]!]])] as Array<[number, number]>;
    if (!pairs.every(([x, y]) => Math.abs(x - y) <= 1e-9 * Math.max(1e-3, Math.abs(y)))) t.fail(`${what} at margin ${h}, β ${beta}, ${n} and ${m} tokens: ${JSON.stringify(pairs)}`);
  }
  t.equal(a.needs.klGradient, b.needs.klGradient, `${what}: the same gradient through KLs`);
  t.equal(a.needs.reference, b.needs.reference, `${what}: the same of the reference`);
}

t.test('MI-DPO becomes DPO, R-DPO, SimPO, TDPO1, TDPO2, LN-DPO, SparsePO and RainbowPO under their priors; RainbowPO becomes SimPO and LN-DPO', async (t) => {
  const none = { mi_reference: 1, mi_kl: 0, mi_length: 0, mi_margin: 0 };
  const mi = (keys: Record<string, unknown>): [LossDefinition, Record<string, number>] => [composeLoss({ ...plain, loss_type: 'mi_dpo', ...keys }), { ...none, ...(keys as Record<string, number>) }];
  const becomes = (name: LossName, keys: Record<string, unknown>, params: Record<string, number>): void => {
    const [loss, own] = mi(keys);
    equal(t, `mi_dpo as ${name}`, loss, losses[name], own, params);
  };
  becomes('sigmoid', {}, { label_smoothing: 0 });
  becomes('r_dpo', { mi_length: 0.05 }, { rdpo_alpha: 0.05 });
  becomes('simpo', { mi_reference: 0, mi_average: true, mi_margin: 0.5 }, { simpo_gamma: 0.5, label_smoothing: 0 });
  becomes('tdpo1', { mi_kl: 1 }, {});
  becomes('tdpo2', { mi_kl: 0.5, mi_kl_gradient: 'rejected' }, { tdpo_alpha: 0.5 });
  becomes('sigmoid_norm', { mi_average: true }, {});
  becomes('sparsepo', { mi_kl: 1, mi_weights: 'mapo' }, {});
  t.same(mi({ mi_kl: 1, mi_weights: 'mapo' })[0].needs, losses.sparsepo.needs, 'and asks for the same mask');
  // With weights of 1 the token-level methods are the plain ones.
  equal(t, 'sdpo as DPO', losses.sdpo, losses.sigmoid, { label_smoothing: 0 }, { label_smoothing: 0 });
  equal(t, 'sparsepo as TDPO1', losses.sparsepo, losses.tdpo1, {}, {});
  const rainbow = (keys: Record<string, unknown>): LossDefinition => composeLoss({ ...plain, loss_type: 'rainbowpo', ...keys });
  const at = (alpha: number, eta: number): Record<string, number> => ({ rainbow_alpha: alpha, rainbow_eta: eta, rainbow_context: 0, label_smoothing: 0 });
  equal(t, 'rainbowpo as sigmoid_norm', rainbow({ rainbow_context: 0 }), losses.sigmoid_norm, at(1, 0.3), {});
  equal(t, 'rainbowpo as DPO', rainbow({ rainbow_context: 0, rainbow_average: false }), losses.sigmoid, at(1, 0), { label_smoothing: 0 });
  // γ of SimPO is βη: one β.
  const d = { ...scalars(-9, -20, 2.5) };
  t.ok(Math.abs(rainbow({ rainbow_context: 0, rainbow_alpha: 0 }).value(d, at(0, 0.55)) - losses.simpo.value(d, { simpo_gamma: 1.375, label_smoothing: 0 })) < 1e-12, 'rainbowpo as SimPO');
  t.equal(rainbow({ rainbow_context: 0, rainbow_alpha: 0 }).needs.reference, 'none');
  equal(t, 'mi_dpo as rainbowpo', mi({ mi_reference: 0.25, mi_average: true, mi_margin: 0 })[0], rainbow({ rainbow_context: 0 }), { ...none, mi_reference: 0.25 }, at(0.25, 0));
  // φ = -c log H̄ scales β: entropies of half of log V on both sides.
  const terms = { chosen: { weight: 7, klWeight: 7, sharpness: 0, refEntropy: 3.5 }, rejected: { weight: 11, klWeight: 11, sharpness: 0, refEntropy: 5.5 }, logVocab: 1 };
  const φ = -0.29 * Math.log(0.5);
  t.ok(Math.abs(losses.rainbowpo.value({ ...d, terms }, { ...at(0.25, 0.1), rainbow_context: 0.29 }) - rainbow({ rainbow_context: 0 }).value({ ...d, beta: d.beta * φ }, at(0.25, 0.1))) < 1e-12, 'contextual scale');
});
