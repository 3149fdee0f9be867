import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import t from 'tap';
import { lossKeys } from '../../src/config/keys.js';
import { PAIR_COLUMNS } from '../../src/gpu/ops/document_loss.js';
import type { LossDefinition } from '../../src/model/losses/types.js';
import { stepScale, submitDocuments } from '../../src/model/train/batches.js';
import { noReferenceRows, type DocumentSource } from '../../src/model/train/types.js';
import { loadParameters, makeEngine } from '../helpers/engine.js';
import { testGpu } from '../helpers/gpu.js';
import { tinySpec, tinyWeights } from '../helpers/tiny_model.js';
import { losses, LOSS_NAMES } from './added/index.js';
import { walkLoss } from './walk.js';

t.test('a folder of losses is a registry: one file each, its index made by the same script; numbers they read are keys', async (t) => {
  t.equal(execFileSync(process.execPath, ['scripts/make-loss-index.mjs', 'test/losses/added', '--print'], { encoding: 'utf8' }), readFileSync('test/losses/added/index.ts', 'utf8'));
  const keys = lossKeys(Object.values(losses), {});
  t.same(Object.keys(keys).sort(), ['centred_momentum', 'tanh_scale']);
  t.equal(keys['tanh_scale']!.parse(undefined), 1.5);
  t.throws(() => keys['tanh_scale']!.parse('much'));
  t.same(lossKeys(Object.values(losses), { tanh_scale: 0, centred_momentum: 0 }), {}, 'a key with an entry of its own keeps it');
});

for (const name of LOSS_NAMES) {
  const loss: LossDefinition = losses[name];
  walkLoss(loss);
  t.test(`${name} trains: three steps of the tiny model, in one micro-batch and in several`, async (t) => {
    const gpu = await testGpu();
    const spec = tinySpec();
    const documents = [[[1, 2, 3], [4, 5, 6, 7], [8, 9]], [[2, 9], [3, 3, 1], [9, 8, 7, 7, 7]], [[5, 5, 5, 1], [2], [6, 4, 4]]].map(([prompt, ...branches], id) => ({ id, prompt: prompt!, branches }));
    const tokens = (i: number): number => documents[i]!.branches.reduce((n, b) => n + b.length, 0);
    const source: DocumentSource = { count: 3, id: (i) => i, rows: (i) => documents[i]!.prompt.length + tokens(i), tokens, chosenTokens: (i) => documents[i]!.branches[0]!.length, document: (i) => documents[i]! };
    const reference = await loadParameters(gpu, spec, tinyWeights(spec, 3), false, 'reference');
    const params = Object.fromEntries(Object.entries(loss.params).map(([key, { default: value }]) => [key, value]));
    const run = async (rows: number): Promise<number[][]> => {
      const policy = await loadParameters(gpu, spec, tinyWeights(spec, 2), true);
      const engine = await makeEngine(gpu, policy, loss, loss.needs.reference === 'none' ? { kind: 'none' } : { kind: 'live', parameters: reference }, { rows, groupSize: 3, over: { params } });
      const found: number[][] = [];
      for (let step = 0; step < 3; step++) {
        const read = await submitDocuments(engine, source, noReferenceRows, [0, 1, 2], { ...stepScale(source, [0, 1, 2], loss.needs), train: true, draw: [step] });
        const record = await engine.optimise({ lr: 1e-2, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, maxGradNorm: 1, weightDecay: 0 })();
        t.ok(!record.skipped && Number.isFinite(record.gradNorm) && record.gradNorm > 0);
        found.push((await read()).tables.map((x) => x[PAIR_COLUMNS.indexOf('loss')]!));
      }
      t.equal((await engine.readMethodState())?.length, loss.group ? 1 : undefined, 'its state');
      policy.destroy();
      return found;
    };
    const [whole, split] = [await run(64), await run(12)];
    t.same(split[0], whole[0], 'the first step to the bit');
    whole.forEach((list, step) => list.forEach((x, i) => t.ok(Math.abs(split[step]![i]! - x) < 1e-3, `step ${step}: ${split[step]![i]} and ${x}`)));
    const sum = (x: number[]): number => x.reduce((a, b) => a + b, 0);
    if (!loss.group) t.ok(sum(whole[2]!) < sum(whole[0]!), `the loss falls: ${whole.map(sum).join(', ')}`);
  });
}
