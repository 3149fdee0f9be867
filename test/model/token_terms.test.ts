import t from 'tap';
import { PAIR_COLUMNS } from '../../src/gpu/ops/document_loss.js';
import { debugRead } from '../../src/gpu/readback.js';
import { parameterSpecs } from '../../src/model/families/spec.js';
import { tokenWeights } from '../../src/model/batch/token_weights.js';
import type { Document } from '../../src/model/batch/pack.js';
import { losses } from '../../src/model/losses/index.js';
import { composeLoss, type Composition } from '../../src/model/losses/modifiers/compose.js';
import type { DocumentScalars, SideTerms } from '../../src/model/losses/types.js';
import { close } from '../helpers/close.js';
import { loadParameters, makeEngine } from '../helpers/engine.js';
import { testGpu } from '../helpers/gpu.js';
import { rng } from '../helpers/rng.js';
import { tinySpec, tinyWeights } from '../helpers/tiny_model.js';
import * as twin from '../reference/head.js';
import { mapoMask, responseLogits, type Weights } from '../reference/transformer.js';

const r = rng(5);
const tokens = (n: number): number[] => Array.from({ length: n }, () => r.int(37));
const documents: Document[] = [[4, 5, 3], [1, 2, 9], [7, 1, 1], [6, 9, 12]].map(([p, c, j], id) => ({ id, prompt: tokens(p!), branches: [tokens(c!), tokens(j!)], weights: [c!, j!].map((n) => Array.from({ length: n }, (_, i) => (i % 3 === 1 ? 0 : 0.25 * (i + 1)))) }));
const spec = tinySpec();
const [weights, refWeights] = [tinyWeights(spec, 2), tinyWeights(spec, 3)];
const plain = { rpo_alpha: 0, f_divergence_type: 'reverse_kl', f_alpha_divergence_coef: 0.5 } as const;
const PARAMS = { label_smoothing: 0.1, mi_reference: 1, mi_kl: 0.6, mi_length: 0, mi_margin: 0, rainbow_alpha: 0.25, rainbow_eta: 0.1, rainbow_context: 0.29 };

/** A document's scalars by the f64 twin, its tokens weighted (of log-probs and KLs). */
function scalarsOf(w: Weights, d: Document, own: number[][]): DocumentScalars {
  const sides = d.branches.map((branch, k): SideTerms & { a: number; ref: number; kl: number } => {
    const [f, q] = [w, refWeights].map((x) => responseLogits(spec, x, d.prompt as number[], branch as number[]));
    const rows = Array.from(branch, (y, i) => twin.token(f![i]!, q![i]!, y, 0.01));
    const sum = (pick: (x: twin.TokenTwin, i: number) => number): number => rows.reduce((n, x, i) => n + pick(x, i), 0);
    return {
      a: sum((x, i) => own[k]![i]! * x.logp), ref: sum((x, i) => own[k]![i]! * x.refLogp), kl: sum((x, i) => own[k]![i]! * x.klRefPolicy),
      weight: 0, klWeight: 0, sharpness: sum((x) => x.logp - x.logSquares), refEntropy: sum((x) => x.refEntropy),
    };
  });
  const [c, j] = sides as [(typeof sides)[0], (typeof sides)[0]];
  return { a: c.a, b: j.a, aRef: c.ref, bRef: j.ref, klChosen: c.kl, klRejected: j.kl, tokensChosen: d.branches[0]!.length, tokensRejected: d.branches[1]!.length, perToken: 0, beta: 0.3, terms: { chosen: c, rejected: j, logVocab: Math.log(spec.V) } };
}

const CASES: Array<[string, Composition & Record<string, unknown>]> = [
  ['WPO', { ...plain, loss_type: 'sigmoid', use_weighting: true }],
  ['LD-DPO', { ...plain, loss_type: 'sigmoid', ld_alpha: 0.4 }],
  ['SDPO with weights of the data', { ...plain, loss_type: 'sdpo' }],
  ['SparsePO with MaPO’s mask', { ...plain, loss_type: 'sparsepo' }],
  ['MI-DPO with KLs and weights of the data', { ...plain, loss_type: 'mi_dpo', mi_kl: 0.6, mi_weights: 'data' }],
  ['RainbowPO with its contextual scale', { ...plain, loss_type: 'rainbowpo' }],
];

for (const [name, composition] of CASES) {
  t.test(`${name}: value and whole-model gradient against the f64 twin; the same from any packing`, async (t) => {
    const gpu = await testGpu();
    const loss = composeLoss(composition);
    const reference = await loadParameters(gpu, spec, refWeights, false, 'reference');
    const { tokenWeights: of } = loss.needs;
    const perDocument = documents.map((d) => {
      if (of?.from === 'mapo') return d.branches.map((b) => mapoMask(spec, refWeights, d.prompt as number[], b as number[]));
      const flat = of?.from === 'data' || of?.from === 'length' ? tokenWeights([d], of) : undefined;
      let at = 0;
      return d.branches.map((b) => Array.from(b, () => (flat ? flat[2 * at++]! : 1)));
    });
    const params = Object.fromEntries(Object.keys(loss.params).map((k) => [k, (PARAMS as Record<string, number>)[k]!]));
    // WPO's weights are constant in the gradient: those of the weights as they stand.
    const base = documents.map((d, i) => scalarsOf(weights, d, perDocument[i]!).terms);
    const value = (w: Weights): number => documents.reduce((n, d, i) => n + loss.value({ ...scalarsOf(w, d, perDocument[i]!), terms: base[i]! }, params), 0) / documents.length;
    const run = async (groups: Document[][], rows: number): Promise<{ grads: Map<string, Float32Array>; losses: number[]; chosen: number[] }> => {
      const policy = await loadParameters(gpu, spec, weights, true);
      const engine = await makeEngine(gpu, policy, loss, loss.needs.reference === 'none' ? { kind: 'none' } : { kind: 'live', parameters: reference }, { over: { beta: 0.3, params }, tile: 16, rows });
      const all: number[] = [];
      const chosen: number[] = [];
      for (const group of groups) {
        const { table } = await engine.microBatch(group, undefined, 1 / documents.length, true)();
        group.forEach((_, i) => {
          all.push(table[i * PAIR_COLUMNS.length + PAIR_COLUMNS.indexOf('loss')]!);
          chosen.push(table[i * PAIR_COLUMNS.length + PAIR_COLUMNS.indexOf('policy_logps_chosen')]!);
        });
      }
      const grads = new Map(await Promise.all(parameterSpecs(spec).map(async (p) => [p.name, await policy.read(p.name, 'grad')] as const)));
      policy.destroy();
      return { grads, losses: all, chosen };
    };
    const whole = await run([documents], 256);
    if (of?.from === 'mapo') {
      const engine = await makeEngine(gpu, await loadParameters(gpu, spec, weights, false), loss, { kind: 'live', parameters: reference }, { training: false });
      await engine.microBatch(documents, undefined, 1, false)();
      const rows = perDocument.flat(2);
      const mask = (await debugRead(engine.tokenWeights!)).slice(0, 2 * rows.length);
      // A difference of nearly equal means magnifies the states' rounding.
      close(t, 'mask, of log-probs and KLs alike', mask, rows.flatMap((m) => [m, m]), { atol: 2e-4, rtol: 0, name: 'min-max' });
      t.ok(rows.some((m) => m < 0.2) && rows.some((m) => m > 0.8), 'tokens of little and of much weight');
    }
    const want = documents.map((d, i) => loss.value(scalarsOf(weights, d, perDocument[i]!), params));
    close(t, 'losses', whole.losses, want, { atol: 1e-5, rtol: 1e-5, name: 'model' });
    const plainSums = documents.map((d) => scalarsOf(weights, d, d.branches.map((b) => Array.from(b, () => 1))).a);
    close(t, 'the ledger’s sums are of all tokens alike', whole.chosen, plainSums, { atol: 1e-5, rtol: 1e-5, name: 'model' });
    const apart = await run(documents.map((d) => [d]), 64);
    t.same(apart.losses, whole.losses, 'alone and packed: the same bits');
    for (const [p, g] of whole.grads) close(t, `${p}: packed and apart`, apart.grads.get(p)!, g, { atol: 2e-6, rtol: 1e-5, name: 'rounding' });
    for (const seed of [1, 2]) {
      const random = rng(seed);
      const direction = Object.fromEntries(parameterSpecs(spec).map((p) => [p.name, Float64Array.from(weights[p.name]!, () => random.normal())]));
      let [analytic, scale] = [0, 0];
      for (const [p, g] of whole.grads) g.forEach((x, i) => { analytic += x * direction[p]![i]!; scale += x * x; });
      const h = 1e-4;
      const moved = (s: number): Weights => Object.fromEntries(Object.entries(weights).map(([n, w]) => [n, Float64Array.from(w, (x, i) => x + s * direction[n]![i]!)]));
      const numeric = (4 * ((value(moved(h / 2)) - value(moved(-h / 2))) / h) - (value(moved(h)) - value(moved(-h))) / (2 * h)) / 3;
      t.ok(Math.abs(analytic - numeric) < 2e-4 * Math.sqrt(scale), `${analytic} against ${numeric}, gradient norm ${Math.sqrt(scale)}`);
    }
  });
}

t.test('LD-DPO’s weights: 1 for the length both responses have, α after; data’s weights of another length are refused', async (t) => {
  const d: Document = { id: 3, prompt: [1], branches: [[1, 2, 3, 4], [5, 6]] };
  t.same([...tokenWeights([d], { from: 'length', alpha: 0.5 })], [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 1, 1, 1, 1]);
  t.throws(() => tokenWeights([{ ...d, weights: [[1, 1, 1, 1], [1]] }], { from: 'data' }), /pair 3: 1 token weights for 2 tokens of response 1/);
  t.equal(losses.sigmoid.needs.reference, 'logps');
});
