import { readFileSync } from 'node:fs';
import t from 'tap';
import { PAIR_COLUMNS } from '../../src/gpu/ops/document_loss.js';
import { fitClassifier, probability } from '../../src/model/density_ratio/classifier.js';
import { densityRatio } from '../../src/model/density_ratio/weights.js';
import type { Document } from '../../src/model/batch/pack.js';
import { bco } from '../../src/model/losses/bco.js';
import { loadParameters, makeEngine } from '../helpers/engine.js';
import { testGpu } from '../helpers/gpu.js';
import { close } from '../helpers/close.js';
import { normals, rng } from '../helpers/rng.js';
import { tinySpec, tinyWeights } from '../helpers/tiny_model.js';

interface Case { case: [number, number, number, number, number]; coef: number[]; intercept: number; probabilities: number[]; weights: number[] }
const golden = JSON.parse(readFileSync('test/goldens/density_ratio.json', 'utf8')) as { version: string; cases: Case[] };

/** As make_density_ratio.py makes them. */
function points([positive, negative, width, shift, scale]: Case['case']): { width: number; x: Float64Array; positive: boolean[] } {
  const n = positive + negative;
  const x = Float64Array.from({ length: n * width }, (_, at) => {
    const [i, j] = [Math.floor(at / width), at % width];
    return scale * (Math.sin(0.7 + 12.9898 * (j + 1) + 78.233 * i) + (i < positive && j % 3 === 0 ? shift : 0));
  });
  return { width, x, positive: Array.from({ length: n }, (_, i) => i < positive) };
}

t.test(`the classifier and its weights as scikit-learn ${golden.version} has them`, async (t) => {
  for (const c of golden.cases) {
    const data = points(c.case);
    const got = fitClassifier(data);
    const worst = Math.max(...c.coef.map((w, j) => Math.abs(got.w[j]! - w)), Math.abs(got.bias - c.intercept));
    t.ok(worst < 1e-8, `${c.case.join(', ')}: coefficients to ${worst}`);
    c.probabilities.forEach((p, i) => {
      const at = (c.case[0] + i) * data.width;
      const mine = probability(got, data.x.subarray(at, at + data.width));
      t.ok(Math.abs(mine - p) < 1e-8, `p of point ${i}: ${mine}, scikit-learn ${p}`);
      t.ok(Math.abs(densityRatio(mine, { least: 0.5, most: 10 }) - c.weights[i]!) < 1e-6, `its weight ${c.weights[i]}`);
    });
  }
  t.ok(golden.cases.some((c) => c.weights.includes(0.5)) && golden.cases.some((c) => c.weights.some((w) => w > 0.5 && w < 10)), 'some at a bound, some not');
});

t.test('the minimum is one: its gradient is 0, and it does not move with the order of points; equal kinds say nothing', async (t) => {
  const [n, width] = [30, 8];
  const x = Float64Array.from(normals(3, n * width));
  const positive = Array.from({ length: n }, (_, i) => i % 4 === 0);
  const { w, bias } = fitClassifier({ width, x, positive });
  const good = positive.filter(Boolean).length;
  const residual = positive.map((y, i) => (n / (2 * (y ? good : n - good))) * (probability({ w, bias }, x.subarray(i * width, (i + 1) * width)) - Number(y)));
  for (let j = 0; j <= width; j++) {
    const gradient = residual.reduce((s, r, i) => s + r * (j < width ? x[i * width + j]! : 1), j < width ? w[j]! : 0);
    t.ok(Math.abs(gradient) < 1e-9, `gradient ${j}: ${gradient}`);
  }
  const back = positive.map((_, i) => n - 1 - i);
  const turned = fitClassifier({ width, x: Float64Array.from(back.flatMap((i) => [...x.subarray(i * width, (i + 1) * width)])), positive: back.map((i) => positive[i]!) });
  t.ok(turned.w.every((v, j) => Math.abs(v - w[j]!) < 1e-9));
  const same = fitClassifier({ width, x: Float64Array.of(...x.subarray(0, 80), ...x.subarray(0, 80)), positive: Array.from({ length: 20 }, (_, i) => i < 10) });
  t.ok(Math.abs(densityRatio(probability(same, x), { least: 0.5, most: 10 }) - 1) < 1e-7, 'the same prompts in both kinds: a ratio of 1');
});

t.test('p at its ends: within the bounds', async (t) => {
  for (const [p, want] of [[0, 0.5], [1e-300, 0.5], [0.5, 1 / (1 + 2e-8)], [1, 10], [0.75, 3]] as const) t.ok(Math.abs(densityRatio(p, { least: 0.5, most: 10 }) - want) < 1e-6, `p ${p}`);
  t.equal(densityRatio(1, { least: 0, most: 1e12 }), 1e8, 'p = 1 has TRL’s 1e-8 beside its 0');
});

t.test('a weight multiplies its document’s loss and gradient and moves nothing else; 1 changes no bit', async (t) => {
  const gpu = await testGpu();
  const spec = tinySpec();
  const reference = await loadParameters(gpu, spec, tinyWeights(spec, 3), false, 'reference');
  const r = rng(9);
  const ids = (n: number): number[] => Array.from({ length: n }, () => r.int(spec.V));
  const documents = Array.from({ length: 5 }, (_, id): Document => ({ id, prompt: ids(3 + id), branches: [ids(4 + id)], desirable: id % 2 === 0 }));
  const run = async (weights: Array<number | undefined>): Promise<{ table: number[][]; gradient: Float32Array; state: Float32Array }> => {
    const policy = await loadParameters(gpu, spec, tinyWeights(spec, 2), true);
    const engine = await makeEngine(gpu, policy, bco, { kind: 'live', parameters: reference }, { over: { params: { prompt_sample_size: 1024, min_density_ratio: 0.5, max_density_ratio: 10 } } });
    const { table } = await engine.microBatch(documents.map((d, i) => ({ ...d, ...(weights[i] === undefined ? {} : { weight: weights[i] }) })), undefined, 0.2, true)();
    const gradient = await policy.read(spec.names.norm, 'grad');
    const width = PAIR_COLUMNS.length;
    const state = (await engine.readMethodState())!;
    policy.destroy();
    return { table: documents.map((_, i) => [...table.subarray(i * width, (i + 1) * width)]), gradient, state };
  };
  const plain = await run([]);
  const ones = await run([1, 1, 1, 1, 1]);
  t.same([ones.table, [...ones.gradient]], [plain.table, [...plain.gradient]], 'to the bit');
  const at = PAIR_COLUMNS.indexOf('loss');
  const weighted = await run([1, 2.5, 1, 0.5, 1]);
  documents.forEach((_, i) => {
    const factor = [1, 2.5, 1, 0.5, 1][i]!;
    t.ok(Math.abs(weighted.table[i]![at]! - factor * plain.table[i]![at]!) < 1e-6, `loss of ${i}`);
    t.equal(weighted.table[i]![PAIR_COLUMNS.indexOf('column')], plain.table[i]![PAIR_COLUMNS.indexOf('column')], 'δ is of all rewards alike');
  });
  t.same([...weighted.state], [...plain.state]);
  // Gradients are sums over documents: those of 1 and of 3 alone, scaled, make the difference.
  const [first, third] = [await run([0, 1, 0, 0, 0]), await run([0, 0, 0, 1, 0])];
  close(t, 'gradient', weighted.gradient, Float32Array.from(plain.gradient, (g, i) => g + 1.5 * first.gradient[i]! - 0.5 * third.gradient[i]!), { atol: 1e-6, rtol: 1e-4, name: 'rounding' });
});
