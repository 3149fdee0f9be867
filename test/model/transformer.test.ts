import t from 'tap';
import { PAIR_COLUMNS } from '../../src/gpu/ops/document_loss.js';
import { STATS } from '../../src/gpu/ops/head_kernels.js';
import { debugRead } from '../../src/gpu/readback.js';
import { parameterSpecs } from '../../src/model/families/spec.js';
import type { Document } from '../../src/model/batch/pack.js';
import type { Engine } from '../../src/model/engine.js';
import { losses } from '../../src/model/losses/index.js';
import { close, model } from '../helpers/close.js';
import { loadParameters, makeEngine } from '../helpers/engine.js';
import { testGpu } from '../helpers/gpu.js';
import { rng } from '../helpers/rng.js';
import { tinySpec, tinyWeights } from '../helpers/tiny_model.js';
import { responseKl, responseLogps } from '../reference/transformer.js';

const r = rng(11);
const tokens = (n: number): number[] => Array.from({ length: n }, () => r.int(37));
const documents: Document[] = [[4, 5, 3], [1, 2, 9], [7, 1, 1], [12, 20, 17], [3, 6, 6], [2, 8, 4], [5, 3, 7], [9, 4, 11]].map(([p, c, j], id) => ({
  id, prompt: tokens(p!), branches: [tokens(c!), tokens(j!)],
}));

/** Rows of `stats` column `logp` of a batch run by the engine. */
async function logps(engine: Engine, docs: Document[], train = false): Promise<Float32Array> {
  const { batch } = await engine.microBatch(docs, undefined, 1, train)();
  const all = await debugRead(engine.head.stats);
  return Float32Array.from({ length: batch.values.S }, (_, s) => all[s * STATS.length]!);
}

for (const tied of [false, true]) {
  t.test(`log-probs of every response token against the f64 twin, ${tied ? 'tied' : 'untied'} head`, async (t) => {
    const gpu = await testGpu();
    const spec = tinySpec({ tie_word_embeddings: tied });
    const weights = tinyWeights(spec, 1);
    const policy = await loadParameters(gpu, spec, weights, false);
    const engine = await makeEngine(gpu, policy, 'sigmoid', { kind: 'none' }, { training: false, tile: 16 });
    const got = await logps(engine, documents);
    const want = documents.flatMap((d) => d.branches.flatMap((b) => responseLogps(spec, weights, d.prompt as number[], b as number[])));
    close(t, 'logps', got, want, model);
  });
}

t.test('a document’s log-probs are equal to the bit alone, packed, at another budget and beside another sibling', async (t) => {
  const gpu = await testGpu();
  const spec = tinySpec();
  const policy = await loadParameters(gpu, spec, tinyWeights(spec, 1), false);
  const small = await makeEngine(gpu, policy, 'sigmoid', { kind: 'none' }, { training: false, rows: 64 });
  const large = await makeEngine(gpu, policy, 'sigmoid', { kind: 'none' }, { training: false, rows: 300 });
  const target = documents[3]!;
  const [c, j] = [target.branches[0]!.length, target.branches[1]!.length];
  const alone = await logps(small, [target]);
  const packed = await logps(large, documents);
  const start = documents.slice(0, 3).reduce((n, d) => n + d.branches[0]!.length + d.branches[1]!.length, 0);
  t.same([...packed.subarray(start, start + c + j)], [...alone], 'alone and packed, budgets 64 and 300');
  const swapped = await logps(large, [documents[5]!, { ...target, branches: [documents[7]!.branches[1]!, target.branches[0]!] }]);
  const at = swapped.length - c;
  t.same([...swapped.subarray(at)], [...alone.subarray(0, c)], 'beside another sibling, in the second place');
});

// Of the losses by sums alone, one with averages over tokens, one with a token mean and one with a KL stand for the rest (test/losses has each by itself).
for (const [loss, branches] of [['sigmoid', 2], ['epsilon_dpo', 2], ['sft', 1], ['ipo', 2], ['cpo', 2], ['tdpo1', 2]] as const) {
  t.test(`whole-model gradient of ${loss} by a directional derivative of the f64 twin`, async (t) => {
    const gpu = await testGpu();
    const spec = tinySpec({ tie_word_embeddings: loss === 'sigmoid' });
    const weights = tinyWeights(spec, 2);
    const refWeights = tinyWeights(spec, 3);
    const docs = documents.slice(0, 4).map((d) => ({ ...d, branches: d.branches.slice(0, branches) }));
    const policy = await loadParameters(gpu, spec, weights, true);
    const reference = await loadParameters(gpu, spec, refWeights, false, 'reference');
    const engine = await makeEngine(gpu, policy, loss, losses[loss].needs.reference !== 'none' ? { kind: 'live', parameters: reference } : { kind: 'none' }, { over: { beta: 0.3, params: { label_smoothing: 0.1, cpo_alpha: 0.7 } }, tile: 16 });
    const perToken = docs.length / docs.reduce((n, d) => n + d.branches[0]!.length, 0);
    const count = loss === 'sft' ? docs.reduce((n, d) => n + d.branches[0]!.length, 0) : docs.length;
    const { table } = await engine.microBatch(docs, undefined, 1 / count, true, perToken)();
    const sum = (w: Record<string, ArrayLike<number>>, d: Document, k: number): number =>
      d.branches[k] ? responseLogps(spec, w, d.prompt as number[], d.branches[k] as number[]).reduce((a, b) => a + b, 0) : 0;
    const kl = (w: Record<string, ArrayLike<number>>, d: Document, k: number): number =>
      'klGradient' in losses[loss].needs ? responseKl(spec, w, refWeights, d.prompt as number[], d.branches[k] as number[]).reduce((a, b) => a + b, 0) : 0;
    const ref = docs.map((d) => [sum(refWeights, d, 0), sum(refWeights, d, 1)] as const);
    const value = (w: Record<string, ArrayLike<number>>): number =>
      docs.reduce((total, d, i) => total + losses[loss].value({
        a: sum(w, d, 0), b: sum(w, d, 1), aRef: ref[i]![0], bRef: ref[i]![1], tokensChosen: d.branches[0]!.length, tokensRejected: d.branches[1]?.length ?? 0, perToken, klChosen: kl(w, d, 0), klRejected: kl(w, d, 1),
        beta: table[i * PAIR_COLUMNS.length + PAIR_COLUMNS.indexOf('beta')]!,
      }, { label_smoothing: 0.1, cpo_alpha: 0.7 }), 0) / count;
    for (const seed of [1, 2]) {
      // A direction over all parameters, and over each kind alone, so that no tensor hides behind another.
      const random = rng(seed);
      const direction = Object.fromEntries(parameterSpecs(spec).map((p) => [p.name, Float64Array.from(weights[p.name]!, () => random.normal())]));
      let analytic = 0;
      let scale = 0;
      for (const p of parameterSpecs(spec)) {
        const g = await policy.read(p.name, 'grad');
        let part = 0;
        for (let i = 0; i < g.length; i++) part += g[i]! * direction[p.name]![i]!;
        analytic += part;
        scale += g.reduce((n, x) => n + x * x, 0);
      }
      const h = 1e-4;
      const moved = (s: number): Record<string, Float64Array> => Object.fromEntries(Object.entries(weights).map(([n, w]) => [n, Float64Array.from(w, (x, i) => x + s * direction[n]![i]!)]));
      const numeric = (4 * ((value(moved(h / 2)) - value(moved(-h / 2))) / h) - (value(moved(h)) - value(moved(-h))) / (2 * h)) / 3;
      t.ok(Math.abs(analytic - numeric) < 2e-4 * Math.sqrt(scale), `${analytic} against ${numeric}, gradient norm ${Math.sqrt(scale)}`);
    }
    // Every tensor by itself, one direction each.
    for (const p of parameterSpecs(spec)) {
      const g = await policy.read(p.name, 'grad');
      const random = rng(p.name.length);
      const d = Float64Array.from(g, () => random.normal());
      const norm = Math.sqrt(g.reduce((n, x) => n + x * x, 0));
      const analytic = g.reduce((n, x, i) => n + x * d[i]!, 0);
      const h = 1e-4;
      const moved = (s: number): Record<string, ArrayLike<number>> => ({ ...weights, [p.name]: Float64Array.from(weights[p.name]!, (x, i) => x + s * d[i]!) });
      const numeric = (value(moved(h)) - value(moved(-h))) / (2 * h);
      t.ok(Math.abs(analytic - numeric) < 1e-3 * norm + 1e-7, `${p.name}: ${analytic} against ${numeric}, norm ${norm}`);
    }
  });
}

t.test('gradients: shared prompts against one sequence at a time, 1x8 against 8x1, checkpointed against kept', async (t) => {
  const gpu = await testGpu();
  const spec = tinySpec();
  const weights = tinyWeights(spec, 2);
  const reference = await loadParameters(gpu, spec, tinyWeights(spec, 3), false, 'reference');
  const run = async (groups: Document[][], checkpointing = false): Promise<Map<string, Float32Array>> => {
    const policy = await loadParameters(gpu, spec, weights, true);
    const engine = await makeEngine(gpu, policy, 'sigmoid', { kind: 'live', parameters: reference }, { gradientCheckpointing: checkpointing });
    for (const group of groups) await engine.microBatch(group, undefined, 1 / 8, true)();
    return new Map(await Promise.all(parameterSpecs(spec).map(async (p) => [p.name, await policy.read(p.name, 'grad')] as const)));
  };
  const whole = await run([documents]);
  const single = await run(documents.map((d) => [d]));
  const kept = await run([documents], true);
  for (const [name, g] of whole) {
    close(t, `${name}: 8x1 and 1x8`, single.get(name)!, g, { atol: 2e-6, rtol: 1e-5, name: 'rounding' });
    t.same([...kept.get(name)!], [...g], `${name}: checkpointing gives the same bits`);
  }
  // One sequence at a time: every branch as a document of its own, through the SFT loss with the pair's coefficient.
  const pairPolicy = await loadParameters(gpu, spec, weights, true);
  const pairs = await makeEngine(gpu, pairPolicy, 'sigmoid', { kind: 'live', parameters: reference });
  await pairs.microBatch(documents, undefined, 1 / 8, true)();
  const coef = await debugRead(pairs.coef);
  const apartPolicy = await loadParameters(gpu, spec, weights, true);
  const apart = await makeEngine(gpu, apartPolicy, 'sft', { kind: 'none' });
  for (const [i, d] of documents.entries()) {
    for (const [k, branch] of d.branches.entries()) {
      await apart.microBatch([{ id: i, prompt: d.prompt, branches: [branch] }], undefined, -coef[(i * 2 + k) * 2]!, true)();
    }
  }
  for (const p of parameterSpecs(spec)) {
    close(t, `${p.name}: shared and apart`, await apartPolicy.read(p.name, 'grad'), await pairPolicy.read(p.name, 'grad'), { atol: 2e-6, rtol: 1e-5, name: 'rounding' });
  }
});
