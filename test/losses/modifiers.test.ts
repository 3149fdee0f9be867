import t from 'tap';
import { documentLoss, PAIR_COLUMNS } from '../../src/gpu/ops/document_loss.js';
import { losses } from '../../src/model/losses/index.js';
import { composeLoss, compositionProblem } from '../../src/model/losses/modifiers/compose.js';
import { settings } from '../helpers/engine.js';
import { output, read, runOnce, testGpu, upload } from '../helpers/gpu.js';
import { plain, scalars } from './cases.js';
import { walkLoss } from './walk.js';

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

for (const loss of composed) walkLoss(loss, PARAMS[loss.name]);
