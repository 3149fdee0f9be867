import t from 'tap';
import { modelSpec } from '../../src/model/families/index.js';
import { parameterSpecs } from '../../src/model/families/spec.js';
import type { Document } from '../../src/model/batch/pack.js';
import { stepKey } from '../../src/model/batch/row_keys.js';
import { Generator } from '../../src/model/generate/generator.js';
import { arenaExtra } from '../../src/model/arena.js';
import { adaptable, adapterCount, adapterName, adapterParameters, adapterSpecs, initialAdapter, loraScale, loraTargets, savedTensors } from '../../src/model/lora.js';
import { memoryPlan } from '../../src/model/memory.js';
import type { Parameters } from '../../src/model/parameters.js';
import { close } from '../helpers/close.js';
import { loadParameters, makeEngine } from '../helpers/engine.js';
import { testGpu } from '../helpers/gpu.js';
import { rng } from '../helpers/rng.js';
import { tinySpec, tinyWeights } from '../helpers/tiny_model.js';
import { adapted, merged, toF32, randomAdapters, score, column, golden, product, type Weights, type Numbers } from '../helpers/lora.js';
import { responseLogps } from '../reference/transformer.js';

const r = rng(5);
const tokens = (n: number): number[] => Array.from({ length: n }, () => r.int(37));
const documents: Document[] = [[4, 5, 3], [1, 2, 9], [7, 1, 1], [12, 20, 17], [3, 6, 6]].map(([p, c, j], id) => ({ id, prompt: tokens(p!), branches: [tokens(c!), tokens(j!)] }));

t.test('gradients of A and B: finite differences of the f64 twin, and the full gradient’s dA = s·Bᵀ·dW, dB = s·dW·Aᵀ', async (t) => {
  const gpu = await testGpu();
  const spec = tinySpec();
  const base = tinyWeights(spec, 2);
  const settings = { r: 3, alpha: 4, rslora: false, targets: loraTargets(spec, ['all-linear']) };
  const values = randomAdapters(spec, settings, 3);
  const s = loraScale(settings);
  const count = documents.length;
  const { base: reference, policy } = await adapted(gpu, spec, base, settings, values);
  const gradientsOf = async (gradientCheckpointing: boolean): Promise<Weights> => {
    const engine = await makeEngine(gpu, policy, 'sigmoid', { kind: 'live', parameters: reference }, { over: { beta: 0.3 }, tile: 16, gradientCheckpointing });
    await engine.microBatch(documents, undefined, 1 / count, true)();
    const { parameters } = policy.adapters!;
    const out: Weights = Object.fromEntries(await Promise.all(parameters.list.map(async (p) => [p.name, (await parameters.read(p.name, 'grad')).slice()] as const)));
    for (const { moments } of parameters.pieces) moments!.grad.write(new Float32Array(moments!.grad.elements));
    return out;
  };
  const got = await gradientsOf(false);
  for (const [key, g] of Object.entries(await gradientsOf(true))) t.same([...g], [...got[key]!], `${key}: checkpointing gives the same bits`);
  t.ok(policy.list.every((p) => p.pieces.every((x) => x.moments === undefined)), 'no gradient and no moments of a frozen tensor exist');

  // Full fine-tuning at the merged weights.
  const whole = await loadParameters(gpu, spec, toF32(merged(base, settings, values)), true, 'merged');
  const full = await makeEngine(gpu, whole, 'sigmoid', { kind: 'live', parameters: reference }, { over: { beta: 0.3 }, tile: 16 });
  await full.microBatch(documents, undefined, 1 / count, true)();
  for (const weight of settings.targets) {
    const dW = await whole.read(weight, 'grad');
    const [a, b] = [values[adapterName(weight, 'A')]!, values[adapterName(weight, 'B')]!];
    const [I, O] = [a.length / settings.r, b.length / settings.r];
    const dA = new Float64Array(a.length);
    const dB = new Float64Array(b.length);
    for (let o = 0; o < O; o++) for (let i = 0; i < I; i++) for (let k = 0; k < settings.r; k++) {
      dA[k * I + i]! += s * b[o * settings.r + k]! * dW[o * I + i]!;
      dB[o * settings.r + k]! += s * dW[o * I + i]! * a[k * I + i]!;
    }
    close(t, `${weight} dA`, got[adapterName(weight, 'A')]!, dA, { atol: 5e-5, rtol: 1e-5, name: 'rounding' });
    close(t, `${weight} dB`, got[adapterName(weight, 'B')]!, dB, { atol: 5e-5, rtol: 1e-5, name: 'rounding' });
  }

  const sum = (w: Numbers, d: Document, k: number): number => responseLogps(spec, w, d.prompt as number[], d.branches[k] as number[]).reduce((x, y) => x + y, 0);
  const ref = documents.map((d) => sum(base, d, 0) - sum(base, d, 1));
  const value = (v: Numbers): number => {
    const w = merged(base, settings, v);
    return documents.reduce((n, d, i) => n + Math.log1p(Math.exp(-0.3 * (sum(w, d, 0) - sum(w, d, 1) - ref[i]!))), 0) / count;
  };
  for (const [n, key] of Object.keys(got).entries()) {
    // The second layer's are enough beside a whole-model direction: every kind of matrix is in it.
    if (!key.includes('layers.1.')) continue;
    const g = got[key]!;
    const random = rng(n);
    const d = Float64Array.from(g, () => random.normal());
    const analytic = g.reduce((x, v, i) => x + v * d[i]!, 0);
    const h = 1e-4;
    const moved = (e: number): Numbers => ({ ...values, [key]: Float64Array.from(values[key]!, (x, i) => x + e * d[i]!) });
    const numeric = (value(moved(h)) - value(moved(-h))) / (2 * h);
    const norm = Math.hypot(...g);
    t.ok(Math.abs(analytic - numeric) < 1e-3 * norm + 1e-7, `${key}: ${analytic} against ${numeric}, norm ${norm}`);
  }
  const random = rng(77);
  const direction = Object.fromEntries(Object.entries(got).map(([k, g]) => [k, Float64Array.from(g, () => random.normal())]));
  const [analytic, squares] = Object.entries(got).reduce<[number, number]>(([x, q], [k, g]) => [x + g.reduce((m, v, i) => m + v * direction[k]![i]!, 0), q + g.reduce((m, v) => m + v * v, 0)], [0, 0]);
  const moved = (e: number): Numbers => Object.fromEntries(Object.entries(values).map(([k, v]) => [k, Float64Array.from(v, (x, i) => x + e * direction[k]![i]!)]));
  const h = 1e-4;
  const numeric = (4 * ((value(moved(h / 2)) - value(moved(-h / 2))) / h) - (value(moved(h)) - value(moved(-h))) / (2 * h)) / 3;
  t.ok(Math.abs(analytic - numeric) < 2e-4 * Math.sqrt(squares), `all of them: ${analytic} against ${numeric}, norm ${Math.sqrt(squares)}`);
});

t.test('the merged model is the adapted one: log-probs to 1e-5, ε-steps of every pair, greedy text; adapters at their start change no bit', async (t) => {
  const gpu = await testGpu();
  const spec = tinySpec({ tie_word_embeddings: true });
  const base = tinyWeights(spec, 4);
  const settings = { r: 4, alpha: 8, rslora: true, targets: loraTargets(spec, ['all-linear']) };
  const values = randomAdapters(spec, settings, 5, 0.05);
  const { base: reference, policy } = await adapted(gpu, spec, base, settings, values);
  const whole = await loadParameters(gpu, spec, toF32(merged(base, settings, values)), false, 'merged');
  const one = await score(policy, documents);
  const other = await score(whole, documents);
  t.ok(Math.max(...one.logps.map((v, i) => Math.abs(v - other.logps[i]!))) < 1e-5, `log-probs apart by ${Math.max(...one.logps.map((v, i) => Math.abs(v - other.logps[i]!)))}`);
  for (const [i, d] of documents.entries()) {
    const at = documents.slice(0, i).reduce((n, x) => n + x.branches[0]!.length + x.branches[1]!.length, 0);
    const alone = (await score(policy, [d])).logps;
    t.same([...alone], [...one.logps.subarray(at, at + alone.length)], 'alone and packed: the same bits under adapters, too');
  }

  const off = await makeEngine(gpu, policy, 'epsilon_dpo', { kind: 'live', parameters: reference }, { training: false });
  const live = await makeEngine(gpu, whole, 'epsilon_dpo', { kind: 'live', parameters: await loadParameters(gpu, spec, base, false, 'reference') }, { training: false });
  const cached = await makeEngine(gpu, policy, 'epsilon_dpo', { kind: 'cache', head: reference, rounded: false }, { training: false });
  const { table: a } = await off.microBatch(documents, undefined, 1 / documents.length, false)();
  const { table: b } = await live.microBatch(documents, undefined, 1 / documents.length, false)();
  const states = await score(reference, documents);
  const { table: c } = await cached.microBatch(documents, { logps: states.logps, hidden: states.hidden }, 1 / documents.length, false)();
  t.same(column(a, 'epsilon_step'), column(b, 'epsilon_step'), 'adapters off against the merged model with a live reference');
  t.ok(new Set(column(a, 'epsilon_step')).size > 1, `steps ${column(a, 'epsilon_step').join(' ')}`);
  t.same([...c], [...a], 'a cache of the base and adapters off: the same bits in every column');
  close(t, 'losses', column(a, 'loss'), column(b, 'loss'), { atol: 1e-5, rtol: 1e-5, name: 'rounding' });

  const greedy = async (model: Parameters): Promise<number[][]> => {
    const texts: number[][] = [];
    const generator = await new Generator(gpu, model, 2, 24, 32).ready();
    await generator.run(documents.slice(0, 3).map((d, index) => ({ index, prompt: d.prompt as number[] })), { temperature: 0, topP: 1, topK: 0, seed: 0, maxNewTokens: 8, stopIds: new Set() }, (g) => (texts[g.index] = g.ids));
    return texts;
  };
  t.same(await greedy(policy), await greedy(whole), 'greedy text');

  const fresh = await adapted(gpu, spec, base, settings, Object.fromEntries(settings.targets.flatMap((w) => (['A', 'B'] as const).map((side) => {
    const { shape } = adapterSpecs(spec, settings).find((p) => p.name === adapterName(w, side))!;
    return [adapterName(w, side), initialAdapter(spec, w, side, shape, 42)];
  }))));
  const start = await makeEngine(gpu, fresh.policy, 'epsilon_dpo', { kind: 'live', parameters: fresh.base }, { training: false });
  const { table: first } = await start.microBatch(documents, undefined, 1 / documents.length, false)();
  t.ok(column(first, 'epsilon_step').every((x) => x === 0) && column(first, 'delta_plus').every((x) => x === 0), 'step 0 for every pair');
});

t.test('dropout: masks by step and row alone, off in evaluation, gradients by finite differences of the same step', async (t) => {
  const gpu = await testGpu();
  const spec = tinySpec();
  const base = tinyWeights(spec, 6);
  const settings = { r: 4, alpha: 8, rslora: false, targets: loraTargets(spec, ['all-linear']) };
  const values = randomAdapters(spec, settings, 7, 0.1);
  const { base: reference, policy } = await adapted(gpu, spec, base, settings, values, 0.2);
  const engine = await makeEngine(gpu, policy, 'sigmoid', { kind: 'live', parameters: reference }, { over: { beta: 0.3 } });
  const plain = await makeEngine(gpu, (await adapted(gpu, spec, base, settings, values)).policy, 'sigmoid', { kind: 'live', parameters: reference }, { over: { beta: 0.3 } });
  const run = async (docs: Document[], train: boolean, step: number): Promise<number[]> => {
    engine.stepKey = stepKey(1, step);
    return column((await engine.microBatch(docs, undefined, 1 / documents.length, train)()).table, 'loss');
  };
  const still = column((await plain.microBatch(documents, undefined, 1 / documents.length, false)()).table, 'loss');
  t.same(await run(documents, false, 1), still, 'evaluation: the bits of a run without dropout');
  const first = await run(documents, true, 1);
  t.notSame(first, still);
  t.notSame(await run(documents, true, 2), first, 'another step, other masks');
  t.same(await run(documents, true, 1), first, 'the same step, the same masks');
  for (const [i, d] of documents.entries()) t.same(await run([d], true, 1), [first[i]], 'alone and packed: the same bits');

  const { parameters } = policy.adapters!;
  for (const { moments } of parameters.pieces) moments!.grad.write(new Float32Array(moments!.grad.elements));
  await run(documents, true, 1);
  const got = await Promise.all(parameters.list.map(async (p) => (await parameters.read(p.name, 'grad')).slice()));
  const random = rng(8);
  const direction = got.map((g) => Float64Array.from(g, () => random.normal()));
  const analytic = got.reduce((n, g, k) => n + g.reduce((m, v, i) => m + v * direction[k]![i]!, 0), 0);
  const norm = Math.sqrt(got.reduce((n, g) => n + g.reduce((m, v) => m + v * v, 0), 0));
  const at = async (h: number): Promise<number> => {
    parameters.list.forEach((p, k) => p.pieces[0]!.value.write(Float32Array.from(values[p.name]!, (v, i) => v + h * direction[k]![i]!)));
    return (await run(documents, true, 1)).reduce((a, b) => a + b, 0) / documents.length;
  };
  const h = 4e-3;
  const numeric = (4 * (((await at(h / 2)) - (await at(-h / 2))) / h) - ((await at(h)) - (await at(-h))) / (2 * h)) / 3;
  t.ok(Math.abs(analytic - numeric) < 5e-3 * norm, `${analytic} against ${numeric} of the f32 loss, norm ${norm}`);
});

t.test('the beginning: A within ±1/√I, the same whatever else is adapted; B zero; targets that match nothing say what there is', async (t) => {
  const spec = tinySpec();
  const weight = spec.names.layers[1]!.q;
  const a = initialAdapter(spec, weight, 'A', [64, 20], 7);
  const bound = 1 / Math.sqrt(20);
  t.ok(a.every((v) => Math.abs(v) <= bound));
  t.ok(Math.abs(a.reduce((n, v) => n + v * v, 0) / a.length / (bound ** 2 / 3) - 1) < 0.1, 'the variance of a uniform law');
  t.notSame([...a.subarray(0, 8)], [...initialAdapter(spec, spec.names.layers[0]!.q, 'A', [64, 20], 7).subarray(0, 8)]);
  t.notSame([...a.subarray(0, 8)], [...initialAdapter(spec, weight, 'A', [64, 20], 8).subarray(0, 8)]);
  t.ok(initialAdapter(spec, weight, 'B', [20, 64], 7).every((v) => v === 0));
  t.same(loraTargets(spec, undefined), spec.names.layers.flatMap((l) => [l.q, l.v]), 'PEFT’s default');
  t.same(loraTargets(spec, ['all-linear']), adaptable(spec).map((p) => p.name));
  t.same(loraTargets(spec, ['layers.1.mlp.up_proj']), [spec.names.layers[1]!.up], 'the end of a path after a dot');
  t.throws(() => loraTargets(spec, ['q_proj', 'w_pack']), { message: /w_pack matches no matrix of this llama model's layers; there are q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj/, exitCode: 2 });
  const saved = (modules: string[], of = spec): string[] => savedTensors(of, modules, loraTargets(of, undefined));
  t.same(saved(['lm_head', '.norm']), ['model.norm.weight', 'lm_head.weight']);
  t.throws(() => saved(['lm_heads', 'mlp']), { message: /lora_modules_to_save: lm_heads, mlp match no module of this llama model; there are embed_tokens, input_layernorm, /, exitCode: 2 });
  t.throws(() => saved(['k_proj', 'q_proj']), /layers\.0\.self_attn\.q_proj has an adapter; it cannot be trained in full too/);
  const tied = tinySpec({ tie_word_embeddings: true });
  t.throws(() => saved(['lm_head'], tied), /lm_head matches no module of this llama model, whose head is its embedding/);
  t.throws(() => saved(['embed_tokens'], tied), /embed_tokens is embedding and head in one/);
  t.throws(() => saved(['c_fc'], modelSpec(golden.cases['gpt2, stored [in, out], default targets']!.config, 'x')), /c_fc is fused or transposed in the checkpoint/);
  t.throws(() => loraTargets(spec, ['proj', 'lm_head']), /proj, lm_head match no matrix/);
});

t.test('the memory plan is what is allocated, to 3 %: no gradients nor moments of frozen weights, no second model with adapters off', async (t) => {
  const gpu = await testGpu();
  const spec = tinySpec({ vocab_size: 1500, hidden_size: 96, intermediate_size: 200, head_dim: 16 });
  const weights = Object.fromEntries(parameterSpecs(spec).map((p) => [p.name, new Float32Array(product(p.shape))]));
  const plain = { r: 8, alpha: 16, rslora: false, targets: loraTargets(spec, ['all-linear']) };
  for (const [mode, dropout, saved] of [['head', 0, ['model.norm.weight', 'lm_head.weight']], ['live', 0], ['live', 0.1]] as const) {
    const settings = { ...plain, ...(saved ? { saved: [...saved] } : {}) };
    const lora = { rank: 8, parameters: adapterCount(spec, settings), dropout, list: adapterParameters(spec, settings).list };
    const before = gpu.bytesNow;
    const { base, policy } = await adapted(gpu, spec, weights, settings, randomAdapters(spec, settings, 1), dropout);
    await makeEngine(gpu, policy, 'epsilon_dpo', mode === 'live' ? { kind: 'live', parameters: base } : { kind: 'cache', head: base, rounded: false }, { rows: 512, capacity: { rows: 512, sequences: 128 } });
    const got = gpu.bytesNow - before;
    const plan = memoryPlan({ spec, rows: 512, keep: 'train', reference: mode, rounded: false, lora, sharedReference: true });
    t.ok(Math.abs(got / plan.total - 1) < 0.03, `${mode}: planned ${plan.total}, allocated ${got}`);
    const extra = arenaExtra(lora.list, () => 'f32');
    t.equal(plan.parts['gradients']! + plan.parts['optimiser state']!, lora.parameters * 12 + extra.gradients + 2 * extra.values);
    t.equal(policy.trained.bytes, 8 * lora.parameters + 2 * extra.values);
    if (!saved) t.ok(plan.total < memoryPlan({ spec, rows: 512, keep: 'train', reference: mode, rounded: false }).total * 0.75);
  }
});
