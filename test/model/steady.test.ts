import t from 'tap';
import { countMade } from '../../bench/count_made.js';
import { matrixTile } from '../../src/gpu/matrices.js';
import type { Document } from '../../src/model/batch/pack.js';
import type { Engine } from '../../src/model/engine.js';
import { losses, type LossName } from '../../src/model/losses/index.js';
import { stepScale, submitDocuments } from '../../src/model/train/batches.js';
import type { DocumentSource, ReferenceSource } from '../../src/model/train/types.js';
import { loadParameters, makeEngine } from '../helpers/engine.js';
import { testGpu } from '../helpers/gpu.js';
import { rng } from '../helpers/rng.js';
import { tinySpec, tinyWeights } from '../helpers/tiny_model.js';

const OPTIMISE = { lr: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, maxGradNorm: 1, weightDecay: 0 };
const STEPS = 200;

/** Documents of 6 to 20 rows. */
function documents(V: number, branches: number): DocumentSource {
  const r = rng(11);
  const ids = (n: number): number[] => Array.from({ length: n }, () => r.int(V));
  const all = Array.from({ length: 40 }, (_, id): Document => ({ id, prompt: ids(2 + r.int(6)), branches: Array.from({ length: branches }, () => ids(2 + r.int(5))), desirable: id % 2 === 0 }));
  const tokens = (i: number): number => all[i]!.branches.reduce((n, b) => n + b.length, 0);
  const before = (i: number): ArrayLike<number> => all[(i + 39) % 40]!.branches[0]!;
  return { count: 40, id: (i) => i, rows: (i) => all[i]!.prompt.length + tokens(i), tokens, chosenTokens: (i) => all[i]!.branches[0]!.length, document: (i) => all[i]!, mismatched: before, mismatchedTokens: (i) => before(i).length };
}

/** Optimiser steps as the trainer makes them: a step is read when the next is on its way. */
async function steps(engine: Engine, source: DocumentSource, reference: ReferenceSource, from: number, to: number): Promise<void> {
  let pending: (() => Promise<unknown>) | undefined;
  for (let step = from; step < to; step++) {
    const positions = Array.from({ length: 3 + (step % 4) }, (_, i) => (step * 7 + i * 3) % source.count);
    const read = await submitDocuments(engine, source, reference, positions, { ...stepScale(source, positions, engine.options.loss.needs), train: true, draw: [1, step] });
    const record = engine.optimise(OPTIMISE);
    await pending?.();
    pending = async () => {
      await read();
      if ((await record()).skipped) throw new Error(`step ${step} was skipped`);
    };
  }
  await pending?.();
}

const CASES: Array<{ what: string; loss: LossName; rows: number; live?: boolean; mixed?: boolean }> = [
  { what: 'ε-DPO from a cache', loss: 'epsilon_dpo', rows: 128 },
  { what: 'ε-DPO from a cache, more micro-batches than are in flight', loss: 'epsilon_dpo', rows: 24 },
  { what: 'ε-DPO live in mixed precision', loss: 'epsilon_dpo', rows: 128, live: true, mixed: true },
  { what: 'KTO, its groups wider than a micro-batch', loss: 'kto', rows: 40, live: true },
];

for (const { what, loss: name, rows, live, mixed } of CASES) {
  t.test(`${what}: ${STEPS} steps make no buffer, bind group or pipeline, and hold no more memory`, async (t) => {
    const gpu = await testGpu();
    const tile = matrixTile(gpu);
    if (mixed && typeof tile === 'string') return t.pass(`no subgroup matrices here: ${tile}`);
    gpu.mixed = mixed && typeof tile !== 'string' ? tile : undefined;
    const spec = tinySpec();
    const loss = losses[name];
    const policy = await loadParameters(gpu, spec, tinyWeights(spec, 2), true);
    const head = await loadParameters(gpu, spec, tinyWeights(spec, 3), false, 'reference');
    const engine = await makeEngine(gpu, policy, loss, live ? { kind: 'live', parameters: head } : { kind: 'cache', head, rounded: false }, { rows, groupSize: 6, capacity: { rows, sequences: 64 }, over: { params: Object.fromEntries(Object.entries(loss.params).map(([key, { default: value }]) => [key, value])) } });
    const source = documents(spec.V, loss.needs.branches);
    const r = rng(5);
    const noise = (length: number, low: number): Float32Array => Float32Array.from({ length }, () => low + r.uniform());
    const reference: ReferenceSource = { rows: (positions) => {
      if (live) return undefined;
      const scored = positions.reduce((n, i) => n + source.tokens(i), 0);
      return { logps: noise(scored, -4), hidden: noise(scored * spec.D, -0.5) };
    } };
    await steps(engine, source, reference, 0, 8);
    const [buffers, bytes] = [gpu.buffers.size, gpu.bytesNow];
    const { made, undo } = countMade(gpu);
    await steps(engine, source, reference, 8, 8 + STEPS);
    undo();
    t.same(made, {}, 'nothing is made');
    t.same([gpu.buffers.size, gpu.bytesNow], [buffers, bytes], 'nothing is kept');
    gpu.mixed = undefined;
    policy.destroy();
    head.destroy();
  });
}

t.test('the counter counts', async (t) => {
  const gpu = await testGpu();
  const { made, undo } = countMade(gpu);
  gpu.destroyBuffer(gpu.createBuffer('counted', 16));
  undo();
  gpu.destroyBuffer(gpu.createBuffer('not counted', 16));
  t.same(made, { createBuffer: 1 });
});

t.test('a step is submitted without waiting for the GPU, also while the step before it runs', async (t) => {
  const gpu = await testGpu();
  const spec = tinySpec();
  const policy = await loadParameters(gpu, spec, tinyWeights(spec, 2), true);
  const reference = await loadParameters(gpu, spec, tinyWeights(spec, 3), false, 'reference');
  const engine = await makeEngine(gpu, policy, 'epsilon_dpo', { kind: 'live', parameters: reference }, { rows: 64 });
  const source = documents(spec.V, 2);
  // What the GPU settles needs a turn of the event loop; until then only microtasks run.
  let turned = false;
  setImmediate(() => (turned = true));
  const readers: Array<() => Promise<unknown>> = [];
  for (const step of [0, 1]) {
    const positions = [3 * step, 3 * step + 1, 3 * step + 2];
    readers.push(await submitDocuments(engine, source, { rows: () => undefined }, positions, { ...stepScale(source, positions, engine.options.loss.needs), train: true }));
    readers.push(engine.optimise(OPTIMISE));
  }
  t.notOk(turned, 'two steps are in flight and nothing was awaited');
  for (const read of readers) await read();
  t.ok(turned);
});
