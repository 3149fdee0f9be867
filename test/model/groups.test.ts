import t from 'tap';
import { PAIR_COLUMNS } from '../../src/gpu/ops/document_loss.js';
import type { Document } from '../../src/model/batch/pack.js';
import { losses, type LossName } from '../../src/model/losses/index.js';
import type { LossDefinition } from '../../src/model/losses/types.js';
import { countMicroBatches, groupsOf, stepScale, submitDocuments } from '../../src/model/train/batches.js';
import { noReferenceRows, type DocumentSource } from '../../src/model/train/types.js';
import { parameterSpecs } from '../../src/model/families/spec.js';
import { close } from '../helpers/close.js';
import { loadParameters, makeEngine } from '../helpers/engine.js';
import { testGpu } from '../helpers/gpu.js';
import { rng } from '../helpers/rng.js';
import { tinySpec, tinyWeights } from '../helpers/tiny_model.js';

const OPTIMISE = { lr: 1e-2, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, maxGradNorm: 1, weightDecay: 0 };

/** Nine documents of 8 to 20 rows; of single responses, each with the response of the one before it for KTO. */
function sourceOf(loss: LossDefinition, V: number): DocumentSource {
  const r = rng(5);
  const ids = (n: number): number[] => Array.from({ length: n }, () => r.int(V));
  const documents = Array.from({ length: 9 }, (_, id): Document => ({ id, prompt: ids(2 + r.int(5)), branches: [ids(3 + r.int(4)), ids(3 + r.int(5))].slice(0, loss.needs.branches), ...(loss.needs.unpaired ? { desirable: id % 3 !== 1 } : {}) }));
  const tokens = (i: number): number => documents[i]!.branches.reduce((n, b) => n + b.length, 0);
  const before = (i: number): ArrayLike<number> => documents[(i + 8) % 9]!.branches[0]!;
  return {
    count: 9, id: (i) => i, rows: (i) => documents[i]!.prompt.length + tokens(i), tokens, chosenTokens: (i) => documents[i]!.branches[0]!.length, document: (i) => documents[i]!,
    ...(loss.group?.of === 'mismatched' ? { mismatched: before, mismatchedTokens: (i: number) => before(i).length } : {}),
  };
}

t.test('groups follow the step’s order; one with too few members joins the one before', async (t) => {
  t.same(groupsOf([0, 1, 2, 3, 4], 2, 1), [[0, 1], [2, 3], [4]]);
  t.same(groupsOf([0, 1, 2, 3, 4], 2, 2), [[0, 1], [2, 3, 4]]);
  t.same(groupsOf([7], 4, 2), [[7]]);
});

const NAMES: LossName[] = ['aot', 'aot_unpaired', 'beta_dpo', 'kto', 'bco', 'apo_zero_unpaired', 'orpo'];
for (const name of NAMES) {
  t.test(`${name}: neither the token budget nor the split into micro-batches changes two steps`, async (t) => {
    const gpu = await testGpu();
    const spec = tinySpec();
    const loss: LossDefinition = losses[name];
    const reference = await loadParameters(gpu, spec, tinyWeights(spec, 3), false, 'reference');
    const source = sourceOf(loss, spec.V);
    const positions = [4, 8, 0, 2, 6, 1, 3, 5, 7];
    const run = async (rows: number, groupSize: number): Promise<{ tables: number[][]; gradient: Map<string, Float32Array>; state: number[] }> => {
      const policy = await loadParameters(gpu, spec, tinyWeights(spec, 2), true);
      const params = Object.fromEntries(Object.entries(loss.params).map(([key, { default: value }]) => [key, value]));
      const engine = await makeEngine(gpu, policy, loss, loss.needs.reference === 'none' ? { kind: 'none' } : { kind: 'live', parameters: reference }, { rows, groupSize, capacity: { rows, sequences: 64 }, over: { params } });
      const step = async (draw: number): Promise<number[][]> => (await (await submitDocuments(engine, source, noReferenceRows, positions, { ...stepScale(source, positions, loss.needs), train: true, draw: [7, draw] }))()).tables.map((x) => [...x]);
      const first = await step(0);
      const gradient = new Map(await Promise.all(parameterSpecs(spec).map(async (p) => [p.name, await policy.read(p.name, 'grad')] as const)));
      const record = await engine.optimise(OPTIMISE)();
      t.notOk(record.skipped);
      const state = [...((await engine.readMethodState()) ?? [])];
      const second = await step(1);
      policy.destroy();
      return { tables: [...first, ...second], gradient, state };
    };
    const [whole, split] = [await run(512, 9), await run(44, 9)];
    t.same(split.tables.slice(0, 9), whole.tables.slice(0, 9), 'the first step to the bit');
    t.same(split.state, whole.state, 'and the state after it');
    for (const [p, g] of whole.gradient) close(t, `gradient of ${p}`, split.gradient.get(p)!, g, { atol: 2e-6, rtol: 1e-5, name: 'rounding' });
    // The second starts from weights that agree to rounding.
    const at = PAIR_COLUMNS.indexOf('loss');
    for (let i = 9; i < 18; i++) t.ok(Math.abs(split.tables[i]![at]! - whole.tables[i]![at]!) < 1e-3, `second step: ${split.tables[i]![at]} and ${whole.tables[i]![at]}`);
    t.ok(whole.tables.every((row) => row.every(Number.isFinite)));
    const counts = [512, 44].map((rows) => countMicroBatches(source, positions, loss, { rows, sequences: 64 }, 9));
    t.same(counts[0], { losses: 1, scores: 0 });
    t.ok(loss.group ? counts[1]!.scores > 1 : counts[1]!.scores === 0, `${counts[1]!.losses} micro-batches, ${counts[1]!.scores} for log-probs`);
    if (!loss.group) return;
    const [four, fours] = [await run(512, 4), await run(44, 4)];
    t.same(four.tables.slice(0, 9), fours.tables.slice(0, 9), 'in groups of four and five too');
    t.notSame(four.tables.slice(0, 9), whole.tables.slice(0, 9), 'which are another method than one of nine');
  });
}
