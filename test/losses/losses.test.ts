import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { betaUpdate } from '../../src/gpu/ops/beta_update.js';
import { documentLoss, PAIR_COLUMNS } from '../../src/gpu/ops/document_loss.js';
import { Head } from '../../src/gpu/ops/head.js';
import { seqSum } from '../../src/gpu/ops/seq_sum.js';
import { losses, LOSS_NAMES, type LossName } from '../../src/model/losses/index.js';
import { composeLoss, compositionProblem } from '../../src/model/losses/modifiers/compose.js';
import type { DocumentScalars, LossDefinition } from '../../src/model/losses/types.js';
import { settings } from '../helpers/engine.js';
import { output, read, runOnce, testGpu, upload } from '../helpers/gpu.js';
import { token } from '../reference/head.js';
import { grouped, scalars, walkLoss } from './walk.js';

t.test('the index is current', async (t) => {
  t.equal(execFileSync(process.execPath, ['scripts/make-loss-index.mjs', '--print'], { encoding: 'utf8' }), readFileSync('src/model/losses/index.ts', 'utf8'));
  for (const name of LOSS_NAMES) t.equal(losses[name].name, name, 'name = file');
});

t.test('golden values of losses.md 2.9: u = 3, v = -1, n_w = 7, n_l = 11; without a reference a = -9, b = -20', async (t) => {
  const golden: Array<[LossName, Record<string, number>, number, number, number, number]> = [
    ['sigmoid', { beta: 0.1, label_smoothing: 0 }, 0.1, 0.513015252, -0.040131234, 0.040131234],
    ['sigmoid', { label_smoothing: 0.1 }, 0.1, 0.553015252, -0.030131234, 0.030131234],
    ['robust', { label_smoothing: 0.1 }, 0.1, 0.463015252, -0.052631234, 0.052631234],
    ['hinge', {}, 0.1, 0.6, -0.1, 0.1],
    ['ipo', {}, 0.1, 20.075054815, -1.280148423, 0.814639906],
    ['sigmoid_norm', {}, 0.1, 0.667510442, -0.006957370, 0.004427417],
    ['exo_pair', { label_smoothing: 1e-3 }, 0.1, 2.099226233, -0.156331776, 0.156331776],
    ['nca_pair', {}, 0.1, 1.303731197, -0.013833622, 0.023751041],
    ['bco_pair', {}, 0.1, 1.198751905, -0.042555748, 0.047502081],
    ['sppo_hard', {}, 0.1, 20, -4, 8],
    ['apo_zero', {}, 0.1, 0.900578296, -0.024445831, 0.024937604],
    ['apo_down', {}, 0.1, 0.975754857, 0.000419757, 0.024026075],
    ['discopop', { discopop_tau: 0.05 }, 0.05, 0.814763141, -0.036708834, 0.036708834],
    ['r_dpo', { rdpo_alpha: 0.05 }, 0.1, 0.598138869, -0.045016600, 0.045016600],
    ['simpo', { simpo_gamma: 1.375, label_smoothing: 0 }, 2.5, 0.715302892, -0.182484299, 0.116126372],
    // α = 0 of AlphaPO is SimPO, and so is CPO-SimPO without its NLL term.
    ['alphapo', { alphapo_alpha: 0, simpo_gamma: 1.375 }, 2.5, 0.715302892, -0.182484299, 0.116126372],
    ['cpo_simpo', { simpo_gamma: 1.375, label_smoothing: 0, cpo_alpha: 0 }, 2.5, 0.715302892, -0.182484299, 0.116126372],
    ['cpo', { cpo_alpha: 0, label_smoothing: 0 }, 0.1, 0.287335325, -0.024973989, 0.024973989],
    ['slic_hf', { slic_delta: 1, slic_lambda: 0.1 }, 0.1, 0.9, -0.1, 0],
    ['rrhf', { rrhf_lambda: 1, rrhf_length_penalty: 1 }, 0.1, 9, -1, 0],
    // The odds term alone: perToken is 0 below.
    ['orpo', {}, 0.1, 0.041022413, -0.006643827, 0.003651847],
    // Sorted over a group of one pair there is nothing but this pair: DPO.
    ['aot', { label_smoothing: 0.1 }, 0.1, 0.553015252, -0.030131234, 0.030131234],
    ['aot_unpaired', { label_smoothing: 0.1 }, 0.1, 0.553015252, -0.030131234, 0.030131234],
    // The first group's running mean is a tenth of its own: with α = 0 β stands, and nothing is left out of one.
    ['beta_dpo', { beta_dpo_alpha: 0, beta_dpo_filter: 0.2, beta_dpo_momentum: 0.9 }, 0.1, 0.513015252, -0.040131234, 0.040131234],
  ];
  // Single responses: u desirable and v undesirable, added up; z = 0.7 and δ = 0.1.
  const singles: Array<[LossName, Record<string, number>, number, number, number, number]> = [
    ['kto', { desirable_weight: 1, undesirable_weight: 1 }, 0.7, 0.900354205, -0.024672268, 0.024820241],
    ['bco', {}, 0.1, 1.196277739, -0.045016600, 0.045016600],
    ['apo_zero_unpaired', {}, 0, 0.900578296, -0.024445831, 0.024937604],
  ];
  for (const [name, params, shared, value, gu, gv] of singles) {
    const loss: LossDefinition = losses[name];
    const of = (a: number, desirable: boolean): DocumentScalars => ({ ...scalars(a, 0), desirable, group: { own: [], shared: [shared] } });
    for (const [what, got, want] of [['value', loss.value(of(3, true), params) + loss.value(of(-1, false), params), value], ['g of u', loss.gradients(of(3, true), params).c[0], gu], ['g of v', loss.gradients(of(-1, false), params).c[0], gv]] as const) t.ok(Math.abs(got - want) < 1e-9, `${name} ${what}: ${got} against ${want}`);
  }
  for (const [name, params, beta, value, gw, gl] of golden) {
    const loss: LossDefinition = losses[name];
    const d = grouped(loss, { ...(loss.needs.reference === 'none' ? scalars(-9, -20, beta) : scalars(3, -1, beta)), ...(name === 'orpo' ? { perToken: 0 } : {}) }, params);
    const { c } = loss.gradients(d, params);
    for (const [what, got, want] of [['value', loss.value(d, params), value], ['g_w', c[0], gw], ['g_l', c[1], gl]] as const) t.ok(Math.abs(got - want) < 1e-9, `${name} ${what}: ${got} against ${want}`);
  }
  t.same(LOSS_NAMES.filter((n) => ![...golden, ...singles].some(([g]) => g === n)), ['epsilon_dpo', 'mi_dpo', 'rainbowpo', 'sdpo', 'sft', 'sparsepo', 'tdpo1', 'tdpo2'], 'every method but ε-DPO (its own example is below), SFT, those with a KL and those of components (equal to others, below) stands in the table');
});

t.test('golden example of losses.md 1.10, through the f64 twin of the criterion', async (t) => {
  const chosen = [token([1, 0.5, -0.5, 0, 2], [0.8, 0.7, -0.4, 0.1, 1.5], 4, 0.01), token([0.2, -1, 1.5, 0.3, 0], [0.1, -0.8, 1.1, 0.5, 0.2], 2, 0.01)];
  const rejected = [token([0.3, 1.2, -0.2, 0.4, 0.1], [0.2, 1.5, -0.1, 0.3, 0], 1, 0.01), token([-0.6, 0.9, 0, 1.4, 0.2], [-0.5, 0.6, 0.2, 1.6, 0.1], 3, 0.01), token([0.5, 0.5, 0.1, -0.3, 0.7], [0.6, 0.2, 0, -0.2, 0.9], 0, 0.01)];
  const sum = (list: typeof chosen, key: keyof (typeof chosen)[0]): number => list.reduce((n, x) => n + x[key], 0);
  const near = (got: number, want: number): void => void t.ok(Math.abs(got - want) < 1e-11, `${got} against ${want}`);
  near(sum(chosen, 'logp'), -1.223167408345);
  near(sum(rejected, 'refLogp'), -2.756363708735);
  near(sum(chosen, 'deltaPlus') - sum(rejected, 'deltaPlus'), 0.009447703601);
  near(sum(chosen, 'deltaMinus') - sum(rejected, 'deltaMinus'), -0.009450429958);
  const d = { a: sum(chosen, 'logp'), b: sum(rejected, 'logp'), aRef: sum(chosen, 'refLogp'), bRef: sum(rejected, 'refLogp'), tokensChosen: 2, tokensRejected: 3, beta: 0.01 / 1.01, perToken: 0, klChosen: 0, klRejected: 0 };
  near(losses.epsilon_dpo.value(d, { label_smoothing: 0 }), 0.688388816646);
  near(losses.epsilon_dpo.gradients(d, { label_smoothing: 0 }).c[0], -0.004926882659);
});

const plain = { rpo_alpha: 0, f_divergence_type: 'reverse_kl', f_alpha_divergence_coef: 0.5 } as const;
/** Modifiers over losses of the folder (losses.md 2.3): what the folder's own losses are tested for holds for them too. */
const composed = [
  composeLoss({ ...plain, loss_type: ['sigmoid', 'bco_pair', 'sft'], loss_weights: [0.8, 0.2, 1] }),
  composeLoss({ ...plain, loss_type: ['simpo', 'alphapo'] }),
  composeLoss({ ...plain, loss_type: ['tdpo2', 'ipo'], loss_weights: [0.5, 2] }),
  composeLoss({ ...plain, loss_type: 'epsilon_dpo', rpo_alpha: 0.3 }),
  composeLoss({ ...plain, loss_type: 'sigmoid', f_divergence_type: 'forward_kl' }),
  composeLoss({ ...plain, loss_type: 'exo_pair', f_divergence_type: 'js_divergence' }),
  composeLoss({ ...plain, loss_type: 'robust', f_divergence_type: 'alpha_divergence' }),
  composeLoss({ ...plain, loss_type: ['sigmoid', 'nca_pair'], f_divergence_type: 'js_divergence', rpo_alpha: 1 }),
  composeLoss({ ...plain, loss_type: 'sigmoid', use_weighting: true }),
  composeLoss({ ...plain, loss_type: ['simpo', 'tdpo1'], use_weighting: true, rpo_alpha: 0.5 }),
  composeLoss({ ...plain, loss_type: 'sigmoid', ld_alpha: 0.5, use_weighting: true }),
  composeLoss({ ...plain, loss_type: ['robust', 'r_dpo'], ld_alpha: 0.3 }),
  composeLoss({ ...plain, loss_type: ['nca_pair', 'sigmoid'], length_average: true, f_divergence_type: 'js_divergence' }),
  ...(['cauchy', 'square', 'hinge'] as const).map((rainbow_link) => composeLoss({ ...plain, loss_type: 'rainbowpo', ...{ rainbow_link, rainbow_context: 0, rainbow_average: rainbow_link !== 'cauchy' } })),
  composeLoss({ ...plain, loss_type: 'mi_dpo', ...{ mi_kl: 0.7, mi_average: true, mi_margin: 0.3, mi_length: 0.01, mi_reference: 0.4 } }),
  composeLoss({ ...plain, loss_type: 'mi_dpo', ...{ mi_kl: 0.5, mi_kl_gradient: 'rejected' } }),
];
/** What a composed loss of components runs with. */
const PARAMS: Record<string, Record<string, number>> = { rainbowpo: { rainbow_context: 0 }, mi_dpo: { mi_kl: 0.7, mi_margin: 0.3, mi_length: 0.01, mi_reference: 0.4 } };

t.test('modifiers: golden values of losses.md 2.9 for f-divergences, what a mixture is made of, what does not compose', async (t) => {
  for (const [kind, value, gw, gl] of [['forward_kl', 0.568597238, -0.002159169, 0.117886639], ['js_divergence', 0.631911384, -0.002221547, 0.034244627], ['alpha_divergence', 0.560715386, -0.009576734, 0.070763022]] as const) {
    const loss = composeLoss({ ...plain, loss_type: 'sigmoid', f_divergence_type: kind });
    const g = loss.gradients(scalars(3, -1), { label_smoothing: 0 });
    for (const [got, want] of [[loss.value(scalars(3, -1), { label_smoothing: 0 }), value], [g.c[0], gw], [g.c[1], gl]] as const) t.ok(Math.abs(got - want) < 1e-9, `${kind}: ${got} against ${want}`);
  }
  const d = scalars(3, -1);
  const p = { label_smoothing: 0 };
  const mpo = composed[0]!;
  t.equal(mpo.name, '0.8 sigmoid + 0.2 bco_pair + nll');
  t.equal(mpo.value(d, p), 0.8 * losses.sigmoid.value(d, p) + 0.2 * losses.bco_pair.value(d, p) - d.a * d.perToken);
  t.equal(composed[2]!.needs.reference, 'hidden');
  t.equal(composed[2]!.needs.klGradient, 'rejected');
  t.equal(composeLoss({ ...plain, loss_type: 'hinge' }), losses.hinge, 'nothing composed is the loss itself');
  const problem = (c: Partial<Parameters<typeof compositionProblem>[0]>): string => compositionProblem({ ...plain, loss_type: 'sigmoid', ...c })?.what ?? '';
  t.match(problem({ loss_type: ['sigmoid', 'ipo'], loss_weights: [1] }), /has 1 numbers for 2 losses \(sigmoid, ipo\)/);
  t.match(problem({ loss_type: ['sigmoid', 'epsilon_dpo'] }), /each pair a β of its own/);
  t.match(problem({ loss_type: ['sigmoid', 'sigmoid'] }), /names a loss twice/);
  t.match(problem({ loss_type: 'cpo', rpo_alpha: 1 }), /has an NLL term of its own \(cpo_alpha\)/);
  t.match(problem({ loss_type: ['sigmoid', 'sft'], rpo_alpha: 1 }), /the same NLL term that sft/);
  t.match(problem({ loss_type: 'simpo', f_divergence_type: 'js_divergence' }), /not for simpo/);
  t.match(problem({ loss_type: 'epsilon_dpo', f_divergence_type: 'js_divergence' }), /not for epsilon_dpo/);
  t.match(problem({ f_divergence_type: 'alpha_divergence', f_alpha_divergence_coef: 1 }), /must not be 1/);
  t.match(problem({ ld_alpha: 0.5, loss_type: 'epsilon_dpo' }), /not for epsilon_dpo \(the ε-criterion is about whole responses\)/);
  t.match(problem({ ld_alpha: 0.5, rpo_alpha: 1 }), /the NLL \(rpo_alpha\) is over all of them/);
  t.match(problem({ ld_alpha: 0.5, length_average: true }), /both take the length out/);
  t.match(problem({ length_average: true, loss_type: 'ipo' }), /ipo has averages of its own/);
  t.match(problem({ length_average: true, loss_type: 'tdpo1' }), /tdpo1 is not a loss of two sums alone/);
  t.equal(problem({ ld_alpha: 1, loss_type: 'ipo' }), '', 'α = 1 is no modifier');
  const averaged = composeLoss({ ...plain, loss_type: 'sigmoid', length_average: true });
  t.equal(averaged.value(d, p), losses.sigmoid_norm.value(d, {}), 'the length-averaged sigmoid is sigmoid_norm');
  t.same(averaged.gradients(d, p), losses.sigmoid_norm.gradients(d, {}));
  const wpo = composeLoss({ ...plain, loss_type: 'hinge', use_weighting: true });
  const side = { weight: 7, klWeight: 7, refEntropy: 0 };
  const near = { ...d, terms: { chosen: { ...side, sharpness: -1.4 }, rejected: { ...side, sharpness: -3.3 }, logVocab: 1 } };
  t.ok(Math.abs(wpo.value(near, p) / losses.hinge.value(d, {}) - Math.exp(-1.4 / 7 - 3.3 / 11)) < 1e-12, 'WPO: e^(mean of the chosen side + mean of the rejected)');
});

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

t.test('scores held at their limit are counted', async (t) => {
  const gpu = await testGpu();
  const loss = composeLoss({ ...plain, loss_type: ['sigmoid', 'hinge'], f_divergence_type: 'forward_kl' });
  const stats = new Float32Array(3 * 24);
  [[-100, 0], [0, -79], [3, -81]].forEach(([u, v], i) => { stats[i * 24] = u!; stats[i * 24 + 12] = v!; });
  const [coef, pairs] = [output(gpu, 'coef', [6, 2]), output(gpu, 'pairs', [3, 24])];
  await runOnce(gpu, (program) => documentLoss(program, { seqStats: upload(gpu, 'stats', [6, 12], stats), seqStart: upload(gpu, 'start', [7], Uint32Array.from({ length: 7 }, (_, i) => i)), betaState: upload(gpu, 'beta', [4], Float32Array.of(0.1, 0, 0, 0)), coef, pairs, stepCounts: upload(gpu, 'counts', [4], new Uint32Array(4)) },
    { loss, settings: settings(), hidden: false }), { invCount: 1, perToken: 0, training: 0 });
  const table = await read(pairs);
  t.same([0, 1, 2].map((i) => table[i * 24 + PAIR_COLUMNS.indexOf('score_held')]), [1, 0, 1]);
  t.ok(table.every(Number.isFinite), 'e^100 is held, and finite');
  t.equal(loss.holdsScores, true);
});

for (const name of LOSS_NAMES) walkLoss(losses[name]);
for (const loss of composed) walkLoss(loss, PARAMS[loss.name]);
for (const kind of ['common', 'independent']) walkLoss((losses.sparsepo as LossDefinition).resolve!({ sparsepo_mask: kind }), { sparsepo_l1: 0.01, sparsepo_l1_kl: 0.003 });

t.test('ε-steps: both signs, ties and the dead zone; counts and β', async (t) => {
  const gpu = await testGpu();
  // (Δ+, Δ-) of a pair and its step by the strict rule, and with a dead zone of 0.3.
  const pairs: Array<[number, number, number, number]> = [[0.5, -0.5, 1, 1], [-0.5, 0.5, -1, -1], [0, 0, 0, 0], [0.2, -0.2, 1, 0], [-0.2, 0.1, -1, 0], [0.1, 0.1, 0, 0], [-0.1, -0.1, 0, 0], [0.5, 0, 0, 0], [0, 0.5, 0, 0]];
  const P = pairs.length;
  const stats = new Float32Array(P * 24);
  pairs.forEach(([up, down], i) => { stats[i * 24 + 2] = up + 1; stats[i * 24 + 14] = 1; stats[i * 24 + 3] = down + 2; stats[i * 24 + 15] = 2; });
  for (const criterion of ['exact', 'deadzone'] as const) {
    const over = settings({ criterion, deadzone: 0.3, epsilonSize: 0.02 });
    const [coef, table] = [output(gpu, 'coef', [P * 2, 2]), output(gpu, 'pairs', [P, 24])];
    const counts = upload(gpu, 'counts', [4], new Uint32Array(4));
    const beta = upload(gpu, 'beta', [4], Float32Array.of(0.05, 0, 0, 0));
    const state = output(gpu, 'state', [16]);
    const inputs = { seqStats: upload(gpu, 'stats', [P * 2, 12], stats), seqStart: upload(gpu, 'start', [P * 2 + 1], Uint32Array.from({ length: P * 2 + 1 }, (_, i) => i)), betaState: beta, coef, pairs: table, stepCounts: counts };
    await runOnce(gpu, (p) => documentLoss(p, inputs, { loss: losses.epsilon_dpo, settings: over, hidden: true }), { invCount: 1, perToken: 0, training: 1 });
    const got = await read(table);
    const steps = pairs.map((_, i) => got[i * 24 + PAIR_COLUMNS.indexOf('epsilon_step')]!);
    const want = pairs.map((p) => p[criterion === 'exact' ? 2 : 3]);
    t.same(steps, want, criterion);
    pairs.forEach((_, i) => t.ok(Math.abs(got[i * 24 + PAIR_COLUMNS.indexOf('beta')]! / (0.05 / (1 + 0.02 * want[i]!)) - 1) < 2e-7));
    const plus = want.filter((s) => s === 1).length;
    const minus = want.filter((s) => s === -1).length;
    // A skipped step leaves β and forgets the counts of that step.
    state.write(Float32Array.of(0, 0, 1));
    await runOnce(gpu, (p) => betaUpdate(p, { betaState: beta, stepCounts: counts, stepState: state }, { epsilonSize: 0.02, betaMin: 0, betaUpdate: 'harmonic' }));
    t.equal((await read(beta))[0], Math.fround(0.05), 'skipped: β stands');
    state.write(Float32Array.of(0, 0, 0));
    for (const rule of ['harmonic', 'arithmetic'] as const) {
      beta.write(Float32Array.of(0.05));
      await runOnce(gpu, (p) => {
        documentLoss(p, inputs, { loss: losses.epsilon_dpo, settings: over, hidden: true });
        betaUpdate(p, { betaState: beta, stepCounts: counts, stepState: state }, { epsilonSize: 0.02, betaMin: 0, betaUpdate: rule });
      }, { invCount: 1, perToken: 0, training: 1 });
      const next = rule === 'harmonic' ? 0.05 / (1 + (0.02 * (plus - minus)) / P) : (0.05 * (P - plus - minus + plus / 1.02 + minus / 0.98)) / P;
      t.ok(Math.abs((await read(beta))[0]! / next - 1) < 3e-7, `${rule}: ${(await read(beta))[0]} against ${next}`);
    }
    beta.write(Float32Array.of(0.05));
    await runOnce(gpu, (p) => {
      documentLoss(p, inputs, { loss: losses.epsilon_dpo, settings: over, hidden: true });
      betaUpdate(p, { betaState: beta, stepCounts: counts, stepState: state }, { epsilonSize: 0.02, betaMin: 0.06, betaUpdate: 'harmonic' });
    }, { invCount: 1, perToken: 0, training: 1 });
    t.equal((await read(beta))[0], Math.fround(0.06), 'β never falls below beta_min');
  }
});

t.test('bf16-trl: the official tensor path, against PyTorch on the CPU', async (t) => {
  const gpu = await testGpu();
  const golden = JSON.parse(readFileSync('test/goldens/bf16_trl.json', 'utf8')) as { D: number; V: number; epsilon: number; unit: number; w: number[]; wr: number[]; pairs: Array<{ sides: Array<{ h: number[]; hr: number[]; y: number[] }>; step: number }> };
  const { D, V, unit } = golden;
  const scaled = (list: number[]): Float32Array => Float32Array.from(list, (x) => x / unit);
  const sides = golden.pairs.flatMap((p) => p.sides);
  const S = sides.reduce((n, s) => n + s.y.length, 0);
  const starts = [0];
  for (const s of sides) starts.push(starts.at(-1)! + s.y.length);
  const head = new Head({ gpu, S, D, V, mode: 'hidden', pieces: [upload(gpu, 'w', [V, D], scaled(golden.w))], refPieces: [upload(gpu, 'wr', [V, D], scaled(golden.wr))], rounded: false, bf16: true, epsilon: golden.epsilon, tile: 20 });
  const P = golden.pairs.length;
  const seqStats = output(gpu, 'seq', [P * 2, 12]);
  const [coef, table] = [output(gpu, 'coef', [P * 2, 2]), output(gpu, 'pairs', [P, 24])];
  const seqStart = upload(gpu, 'start', [P * 2 + 1], Uint32Array.from(starts));
  await runOnce(gpu, (p) => {
    head.forward(p, { hidden: upload(gpu, 'h', [S, D], scaled(sides.flatMap((s) => s.h))), labels: upload(gpu, 'y', [S], Uint32Array.from(sides.flatMap((s) => s.y))), refLogps: output(gpu, 'r', [S]), refHidden: upload(gpu, 'hr', [S, D], scaled(sides.flatMap((s) => s.hr))) });
    seqSum(p, { stats: head.stats, seqStart, seqStats });
    documentLoss(p, { seqStats, seqStart, betaState: upload(gpu, 'beta', [4], Float32Array.of(0.1, 0, 0, 0)), coef, pairs: table, stepCounts: upload(gpu, 'c', [4], new Uint32Array(4)) }, { loss: losses.epsilon_dpo, settings: settings({ criterion: 'bf16-trl' }), hidden: true });
  }, { invCount: 1, perToken: 0, training: 0 });
  const got = await read(table);
  const steps = golden.pairs.map((_, i) => got[i * 24 + PAIR_COLUMNS.indexOf('epsilon_step')]!);
  t.same(steps, golden.pairs.map((p) => p.step));
  t.ok([1, 0, -1].every((s) => golden.pairs.filter((p) => p.step === s).length >= 3), 'the golden has every kind of step');
});
