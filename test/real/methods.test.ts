import { ModelFolder } from '../../src/model/files/hf_folder.js';
import { losses, LOSS_NAMES } from '../../src/model/losses/index.js';
import { composeLoss } from '../../src/model/losses/modifiers/compose.js';
import type { Document } from '../../src/model/batch/pack.js';
import type { LossDefinition } from '../../src/model/losses/types.js';
import { PAIR_COLUMNS } from '../../src/gpu/ops/document_loss.js';
import { loadConfig } from '../../src/config/load.js';
import { loadFrozen } from '../../src/model/frozen.js';
import { loadWeights } from '../../src/model/session.js';
import { loadTokenizer } from '../../src/model/text/tokenizer.js';
import { makeEngine } from '../helpers/engine.js';
import { testGpu } from '../helpers/gpu.js';
import { realTest, sharedData } from '../helpers/shared.js';

/** β where a method's own differs by orders of magnitude from DPO's 0.1. */
const BETA: Record<string, number> = { sppo_hard: 0.01, sigmoid_norm: 2, simpo: 2, cpo_simpo: 2, alphapo: 2, ipo: 0.5, rainbowpo: 10 };

/** Two pairs as single responses, chosen ones desirable; KTO's mismatched responses, of the other pair, behind them. */
const singles = (pairs: Document[], loss: LossDefinition): Document[] =>
  pairs.slice(0, 2).flatMap((d, i) => d.branches.map((branch, side) => ({ ...d, branches: [branch, ...(loss.group?.of === 'mismatched' ? [pairs[1 - i]!.branches[side]!] : [])], desirable: side === 0 })));

realTest('every method trains the real model for 50 steps with finite numbers and overfits its three pairs', async (t) => {
  const gpu = await testGpu();
  const folder = ModelFolder.open(sharedData('models', 'stories260K', 'hf'));
  const tokenizer = await loadTokenizer(folder.path);
  const reference = await loadFrozen(gpu, folder, 'reference', loadConfig({ flags: {}, command: 'config' }).config);
  const ids = (text: string): number[] => tokenizer.encode(text);
  const texts: Array<[string, string, string]> = [['Once upon a time', ' there was a big red car.', ' no dogs ran.'], ['The little girl', ' was sad today.', ' played with her friend Tim in the park.'], ['Tom saw', ' a bird.', ' the sun.']];
  const pairs = texts.map(([prompt, chosen, rejected], id): Document => ({ id, prompt: [1, ...ids(prompt)], branches: [ids(chosen), ids(rejected)] }));
  const plain = { rpo_alpha: 0, f_divergence_type: 'reverse_kl', f_alpha_divergence_coef: 0.5 } as const;
  const modified = [composeLoss({ ...plain, loss_type: ['sigmoid', 'bco_pair', 'sft'], loss_weights: [0.8, 0.2, 1] }), composeLoss({ ...plain, loss_type: 'epsilon_dpo', rpo_alpha: 1 }), composeLoss({ ...plain, loss_type: 'sigmoid', f_divergence_type: 'js_divergence' }), composeLoss({ ...plain, loss_type: 'sigmoid', use_weighting: true, ld_alpha: 0.5 }), composeLoss({ ...plain, loss_type: 'mi_dpo', ...{ mi_kl: 1 } }), composeLoss({ ...plain, loss_type: 'sparsepo', ...{ sparsepo_mask: 'independent' } }), { ...losses.rrhf, needs: { ...losses.rrhf.needs, list: true } }];
  for (const loss of [...LOSS_NAMES.map((name): LossDefinition => losses[name]), ...modified]) {
    const { name } = loss;
    // Every second token of a response counts double where tokens have weights.
    const documents = loss.needs.unpaired ? singles(pairs, loss) : pairs.map((d) => ({ ...d, branches: d.branches.slice(0, loss.needs.branches), weights: d.branches.map((b) => Array.from(b, (_, i) => 1 + (i % 2))) }));
    // Three responses to each prompt, the worst the other pair's.
    if (loss.needs.list) documents.forEach((d, i) => Object.assign(d, { branches: [...d.branches, pairs[(i + 1) % pairs.length]!.branches[1]!], scores: [2, 1, 0] }));
    const rows = documents.reduce((n, d) => n + d.prompt.length + d.branches.reduce((m, b) => m + b.length, 0), 0);
    t.ok(rows <= 128, `${rows} rows`);
    const policy = await loadWeights(gpu, folder, name);
    const params = { ...Object.fromEntries(Object.entries(loss.params).map(([key, { default: value }]) => [key, value])), ...(loss.needs.klGradient && name === 'mi_dpo' ? { mi_kl: 1 } : {}) };
    const engine = await makeEngine(gpu, policy, loss, loss.needs.reference === 'none' ? { kind: 'none' } : { kind: 'live', parameters: reference }, { rows: 128, over: { beta: BETA[name] ?? 0.1, params } });
    const chosen = documents.reduce((n, d) => n + d.branches[0]!.length + (loss.needs.scored === 'all' ? d.prompt.length - 1 : 0), 0);
    const scale = 1 / (loss.needs.normalise === 'tokens' ? chosen : documents.length);
    let first: number[] = [];
    let last: number[] = [];
    const at = (table: number[], i: number, key: (typeof PAIR_COLUMNS)[number]): number => table[i * PAIR_COLUMNS.length + PAIR_COLUMNS.indexOf(key)]!;
    let finite = true;
    for (let step = 0; step < 50; step++) {
      const read = engine.microBatch(documents, undefined, scale, true, documents.length / chosen);
      const record = await engine.optimise({ lr: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, maxGradNorm: 1, weightDecay: 0 })();
      last = [...(await read()).table];
      if (step === 0) first = last;
      finite &&= !record.skipped && last.every(Number.isFinite) && Number.isFinite(record.gradNorm) && record.beta > 0;
    }
    t.ok(finite, `${name}: finite`);
    const logps = (table: number[]): number => documents.reduce((n, _, i) => n + at(table, i, 'policy_logps_chosen'), 0);
    if (loss.needs.list) documents.forEach((_, i) => t.ok(at(last, i, 'policy_logps_chosen') / at(last, i, 'tokens_chosen') > at(last, i, 'policy_logps_rejected') / at(last, i, 'tokens_rejected') && at(last, i, 'policy_logps_chosen') > 0.5 * at(first, i, 'policy_logps_chosen'), `${name} lists: the best over the last, ${at(first, i, 'policy_logps_chosen')} to ${at(last, i, 'policy_logps_chosen')}`));
    else if (loss.needs.unpaired) for (let i = 0; i < documents.length; i += 2) t.ok(at(last, i, 'reward_chosen') > at(last, i + 1, 'reward_chosen'), `${name}: ${at(last, i, 'reward_chosen')} desirable over ${at(last, i + 1, 'reward_chosen')}`);
    else if (loss.needs.branches === 1) t.ok(logps(last) > 0.5 * logps(first), `${name}: NLL ${-logps(first)} to ${-logps(last)}`);
    else documents.forEach((_, i) => t.ok(at(last, i, 'reward_chosen') > at(last, i, 'reward_rejected'), `${name}: pair ${i}, ${at(last, i, 'reward_chosen')} over ${at(last, i, 'reward_rejected')}`));
    if (engine.learnedMask) t.ok(at(last, 0, 'column') > 0, `${name}: the mask is open, ${at(last, 0, 'column')}`);
    policy.destroy();
  }
});
