import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import t from 'tap';
import { losses, LOSS_NAMES, type LossName } from '../../src/model/losses/index.js';
import type { DocumentScalars, LossDefinition } from '../../src/model/losses/types.js';
import { grouped, scalars } from './cases.js';
import { walkLoss } from './walk.js';

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
  t.same(LOSS_NAMES.filter((n) => ![...golden, ...singles].some(([g]) => g === n)), ['epsilon_dpo', 'mi_dpo', 'rainbowpo', 'sdpo', 'sft', 'sparsepo', 'tdpo1', 'tdpo2'], 'every method but ε-DPO (its own example is in epsilon.test), SFT, those with a KL and those of components (equal to others: components.test) stands in the table');
});

for (const name of LOSS_NAMES) walkLoss(losses[name]);
for (const kind of ['common', 'independent']) walkLoss((losses.sparsepo as LossDefinition).resolve!({ sparsepo_mask: kind }), { sparsepo_l1: 0.01, sparsepo_l1_kl: 0.003 });
