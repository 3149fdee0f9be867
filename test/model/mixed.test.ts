import { readFileSync } from 'node:fs';
import t from 'tap';
import { matrixTile } from '../../src/gpu/matrices.js';
import { PAIR_COLUMNS } from '../../src/gpu/ops/document_loss.js';
import { LOSS_SCALE } from '../../src/gpu/ops/operand_scales.js';
import { STATS } from '../../src/gpu/ops/head_kernels.js';
import { Program } from '../../src/gpu/program.js';
import { debugRead } from '../../src/gpu/readback.js';
import type { Document } from '../../src/model/batch/pack.js';
import type { Engine } from '../../src/model/engine.js';
import { decode16, encode16 } from '../../src/model/files/float_formats.js';
import { modelSpec } from '../../src/model/families/index.js';
import { parameterSpecs } from '../../src/model/families/spec.js';
import { ModelFolder } from '../../src/model/files/hf_folder.js';
import { memoryPlan } from '../../src/model/memory.js';
import { adapterCount, adapterParameters, Adapters, loraTargets } from '../../src/model/lora.js';
import type { Parameters } from '../../src/model/parameters.js';
import { loadFrozen } from '../../src/model/frozen.js';
import { loadWeights, useDtype } from '../../src/model/session.js';
import { loadTokenizer } from '../../src/model/text/tokenizer.js';
import type { RunConfig } from '../../src/config/keys.js';
import { inMixed, loadParameters, makeEngine } from '../helpers/engine.js';
import { testGpu } from '../helpers/gpu.js';
import { normals } from '../helpers/rng.js';
import { realTest, sharedData } from '../helpers/shared.js';
import { tinySpec, tinyWeights } from '../helpers/tiny_model.js';

const gpu = await testGpu();
const tile = matrixTile(gpu);
const OPTIMISE = { lr: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, maxGradNorm: 1, weightDecay: 0 };
/** In nats: what f16 operands change of Δ± at ε = 0.01 stays below it on the real model. */
const BOUND = 1e-3;
const column = (table: ArrayLike<number>, i: number, key: (typeof PAIR_COLUMNS)[number]): number => table[i * PAIR_COLUMNS.length + PAIR_COLUMNS.indexOf(key)]!;


/** What `body` makes with attention in f32. */
async function withoutAttention<T>(body: () => Promise<T>): Promise<T> {
  gpu.without.add('attention_matrix');
  try {
    return await body();
  } finally {
    gpu.without.delete('attention_matrix');
  }
}

const documents: Document[] = [
  { id: 0, prompt: [1, 5, 9], branches: [[4, 7, 2], [8, 3]] },
  { id: 1, prompt: [1, 6], branches: [[11, 2], [12, 13, 14, 2]] },
  { id: 2, prompt: [1, 2, 3, 4, 5], branches: [[6], [7, 8, 9]] },
];

const logps = async (engine: Engine, docs: Document[]): Promise<number[]> => {
  const { batch } = await engine.microBatch(docs, undefined, 1, false)();
  const stats = await debugRead(engine.head.stats);
  return Array.from({ length: batch.values.S }, (_, s) => stats[s * STATS.length]!);
};

async function steps(engine: Engine, docs: Document[], count: number, lr = OPTIMISE.lr): Promise<{ losses: number[]; deltas: number[][]; tables: Float32Array[] }> {
  const found = { losses: [] as number[], deltas: [] as number[][], tables: [] as Float32Array[] };
  for (let i = 0; i < count; i++) {
    const read = engine.microBatch(docs, undefined, 1 / docs.length, true);
    await engine.optimise({ ...OPTIMISE, lr })();
    const { table } = await read();
    found.tables.push(table.slice());
    found.losses.push(docs.reduce((n, _, d) => n + column(table, d, 'loss'), 0) / docs.length);
    found.deltas.push(docs.flatMap((_, d) => [column(table, d, 'delta_plus'), column(table, d, 'delta_minus'), column(table, d, 'epsilon_step')]));
  }
  return found;
}

if (typeof tile === 'string') {
  t.test('an adapter without f16 matrices says so', async (t) => {
    t.throws(() => useDtype(gpu, { dtype: 'mixed_f16' } as RunConfig), new RegExp(`does not multiply f16 matrices: ${tile.slice(0, 20)}`));
    t.equal(useDtype(gpu, { dtype: 'float32' } as RunConfig).mixed, undefined);
  });
} else {
  // As wide as one matrix, so that attention runs in them.
  const spec = tinySpec({ head_dim: tile.MM });
  const weights = tinyWeights(spec, 1);
  const model = (trainable: boolean, w = weights, label = 'policy'): Promise<Parameters> => loadParameters(gpu, spec, w, trainable, label);

  t.test('ties are exact, a document’s bits do not depend on its neighbours, log-probs are near those of f32', async (t) => {
    const f32 = await logps(await makeEngine(gpu, await model(false), 'sigmoid', { kind: 'none' }, { training: false }), documents);
    const engine = await inMixed(gpu, async () => makeEngine(gpu, await model(true), 'epsilon_dpo', { kind: 'live', parameters: await model(false, weights, 'reference') }));
    const all = await logps(engine, documents);
    t.ok(all.every((v, i) => Math.abs(v - f32[i]!) < 2e-2 && v !== f32[i]), `${Math.max(...all.map((v, i) => Math.abs(v - f32[i]!)))}`);
    // A reference that its files keep in 16 bits: the same copy, made from the same values.
    const rounded = Object.fromEntries(Object.entries(weights).map(([name, w]) => [name, decode16(encode16(w, 'BF16'), 'BF16')]));
    const packed = await inMixed(gpu, async () => makeEngine(gpu, await model(true, rounded), 'epsilon_dpo', { kind: 'live', parameters: await loadParameters(gpu, spec, rounded, false, 'reference', (p) => (p.shape.length === 2 ? 'bf16' : 'f32')) }));
    for (const e of [engine, packed]) {
      const { table } = await e.microBatch(documents, undefined, 1, false)();
      documents.forEach((_, i) => t.same(['delta_plus', 'delta_minus', 'epsilon_step'].map((key) => Math.abs(column(table, i, key as 'delta_plus'))), [0, 0, 0], 'a tie'));
    }
    t.notOk(packed.dispatches(documents).some(({ label }) => /matmul\.(tiled_)?[nt][nt]|attention\.(fwd|bwd_d[qk])/.test(label)), 'no product is left in f32');
    const alone = (await Promise.all([documents[1]!].map((d) => logps(engine, [d])))).flat();
    const first = documents[0]!.branches.reduce((n, b) => n + b.length, 0);
    t.same(alone, all.slice(first, first + alone.length), 'alone and packed');
  });

  t.test('heads that the matrices do not divide take the plain kernels; with and without attention in matrices ten steps agree', async (t) => {
    const odd = tinySpec({ head_dim: 6 });
    const engine = await inMixed(gpu, async () => makeEngine(gpu, await loadParameters(gpu, odd, tinyWeights(odd, 1), true), 'sft', { kind: 'none' }));
    t.same(engine.dispatches(documents).filter(({ label }) => /attention/.test(label)).map(({ label }) => label.slice(4)), ['attention.fwd', 'attention.fwd', ...['delta', 'dq', 'dkv', 'delta', 'dq', 'dkv'].map((x) => `attention.bwd_${x}`)]);
    const build = (): Promise<Engine> => inMixed(gpu, async () => makeEngine(gpu, await model(true), 'epsilon_dpo', { kind: 'live', parameters: await model(false, tinyWeights(spec, 2), 'reference') }));
    const [on, off] = [await steps(await build(), documents, 10), await withoutAttention(async () => steps(await build(), documents, 10))];
    const apart = Math.max(...off.losses.map((l, i) => Math.abs(on.losses[i]! - l) / l));
    t.ok(apart < 0.01 && apart > 0, `losses differ by at most ${(100 * apart).toFixed(4)} %: ${off.losses[0]} to ${off.losses.at(-1)}`);
  });

  t.test('an MLP whose product is beyond f16 survives', async (t) => {
    const large = Object.fromEntries(Object.entries(weights).map(([name, w]) => [name, w.map((v) => v * (/gate_proj/.test(name) ? 300 : /up_proj/.test(name) ? 3000 : /down_proj/.test(name) ? 1e-6 : 1))]));
    const plain = await makeEngine(gpu, await model(false, large), 'sigmoid', { kind: 'none' }, { training: false });
    const want = await logps(plain, documents);
    const top = (await debugRead(plain.acts.act)).subarray(0, 19 * spec.F).reduce((m, v) => Math.max(m, Math.abs(v)), 0);
    t.ok(top > 65504, `the largest product is ${top}`);
    const engine = await inMixed(gpu, async () => makeEngine(gpu, await model(true, large), 'sft', { kind: 'none' }));
    const got = await logps(engine, documents);
    t.ok(got.every((v, i) => Math.abs(v - want[i]!) < 2e-2), `${Math.max(...got.map((v, i) => Math.abs(v - want[i]!)))}`);
    const { losses } = await steps(engine, documents, 3, 1e-7);
    t.ok(losses.every(Number.isFinite) && losses[2]! < losses[0]!, losses.join());
  });

  t.test('an operand that runs over skips its step and lowers the scale; state restored continues to the same bits', async (t) => {
    const build = () => inMixed(gpu, async () => makeEngine(gpu, await model(true), 'epsilon_dpo', { kind: 'live', parameters: await model(false, tinyWeights(spec, 2), 'reference') }));
    const engine = await build();
    await steps(engine, documents, 2);
    const state = await engine.operands!.state();
    const { policy } = engine.options;
    // Of seven products a layer and the head's, of attention's output and its scores.
    const gradients = 7 * spec.L + 1 + 2 * spec.L;
    const before = await policy.read(spec.names.layers[0]!.q);
    engine.setOperands({ ...state, scales: state.scales.map((s, i) => (i >= state.scales.length - gradients ? 2 ** 60 : s)) });
    engine.microBatch(documents, undefined, 1 / 3, true);
    const skipped = await engine.optimise(OPTIMISE)();
    t.ok(skipped.skipped && skipped.lossScale === LOSS_SCALE.start / 2, JSON.stringify(skipped));
    t.same(await policy.read(spec.names.layers[0]!.q), before, 'weights unmoved');
    engine.microBatch(documents, undefined, 1 / 3, true);
    t.notOk((await engine.optimise(OPTIMISE)()).skipped, 'the next one goes');

    // Weights, moments, counters and scales into another engine: two more steps, the same bits.
    const kept = { operands: await engine.operands!.state(), step: await engine.readStepState(), beta: (await debugRead(engine.betaState))[0]! };
    const other = await build();
    const to = new Map([...other.optimiserState!.kept()].map(({ name, tensor }) => [name, tensor]));
    for (const { name, tensor } of engine.optimiserState!.kept()) to.get(name)!.write(await debugRead(tensor));
    other.setState(kept.beta, kept.step);
    other.setOperands(kept.operands);
    await other.operands!.repack();
    t.same((await steps(other, documents, 2)).tables, (await steps(engine, documents, 2)).tables);
    t.same(await other.options.policy.read(spec.names.layers[0]!.down), await policy.read(spec.names.layers[0]!.down));
  });

  t.test('every family takes steps in mixed precision, whatever it keeps: log-probs near those of f32, the loss falls', async (t) => {
    const { families } = JSON.parse(readFileSync('test/goldens/families.json', 'utf8')) as { families: Record<string, { config: Record<string, unknown> }> };
    for (const [name, { config }] of Object.entries(families)) {
      const of = modelSpec({ ...config, vocab_size: 60 }, name);
      const values = Object.fromEntries(parameterSpecs(of).map((p, i) => [p.name, normals(i + 1, p.shape.reduce((a, b) => a * b, 1), p.shape.length === 2 ? 0.08 : 0.1).map((v) => (p.shape.length === 1 && /norm|ln_/.test(p.name) && !/bias/.test(p.name) ? 1 + v : v))]));
      const f32 = await logps(await makeEngine(gpu, await loadParameters(gpu, of, values, false), 'sigmoid', { kind: 'none' }, { training: false }), documents);
      for (const gradientCheckpointing of [false, true]) {
        const engine = await inMixed(gpu, async () => makeEngine(gpu, await loadParameters(gpu, of, values, true), 'sft', { kind: 'none' }, { gradientCheckpointing }));
        const got = await logps(engine, documents);
        const off = Math.max(...got.map((v, i) => Math.abs(v - f32[i]!)));
        t.ok(off < 2e-2, `${name}, checkpointing ${gradientCheckpointing}: log-probs off by ${off}`);
        const { losses } = await steps(engine, documents, 3);
        t.ok(losses.every(Number.isFinite) && losses[2]! < losses[0]!, `${name}: ${losses.join(', ')}`);
        engine.options.policy.destroy();
      }
    }
  });

  t.test('the memory plan is what is allocated, to 3 %', async (t) => {
    for (const live of [true, false]) {
      const large = tinySpec({ vocab_size: 900, head_dim: tile.MM });
      const before = gpu.bytesNow;
      await inMixed(gpu, async () => {
        const reference = live ? { kind: 'live' as const, parameters: await loadParameters(gpu, large, tinyWeights(large, 2), false, 'reference') } : { kind: 'cache' as const, rounded: false };
        return makeEngine(gpu, await loadParameters(gpu, large, tinyWeights(large, 1), true), live ? 'epsilon_dpo' : 'sigmoid', reference, { rows: 2048, capacity: { rows: 2048, sequences: 512 } });
      });
      const got = gpu.bytesNow - before;
      const plan = memoryPlan({ spec: large, rows: 2048, keep: 'train', reference: live ? 'live' : 'logps', rounded: false, mixed: tile });
      t.ok(Math.abs(got / plan.total - 1) < 0.03, `planned ${plan.total}, allocated ${got}`);
    }
  });

  t.test('what stands as an operand alone is not allocated, as the plan says: by family, with adapters on all, on some, on none, which read operands unless part of their input falls', async (t) => {
    const { families } = JSON.parse(readFileSync('test/goldens/families.json', 'utf8')) as { families: Record<string, { config: Record<string, unknown> }> };
    const rows = 1024;
    const none = { h: false, act: false, dgate: false, dup: false, dPost: false };
    const mlp = { ...none, act: true, dgate: true, dup: true };
    for (const [name, modules, checkpointing, want, dropout = 0] of [
      ['llama', undefined, false, { ...mlp, h: true }], ['gemma2', undefined, true, { ...mlp, h: true, dPost: true }], ['gemma2', undefined, 'mlp', { ...mlp, h: true, dPost: true }], ['gpt2', undefined, false, { ...none, h: true }], ['stablelm', undefined, false, { ...mlp, h: true }],
      ['llama', ['q_proj', 'v_proj'], false, mlp, 0.1], ['llama', ['down_proj'], false, { ...mlp, h: true, act: false }, 0.1], ['llama', ['all-linear'], true, none, 0.1],
      ['llama', ['q_proj', 'v_proj'], false, { ...mlp, h: true }], ['llama', ['all-linear'], true, { ...mlp, h: true }], ['gemma2', ['all-linear'], false, { ...mlp, h: true, dPost: true }], ['gpt2', ['all-linear'], false, { ...none, h: true }],
    ] as Array<[string, string[] | undefined, boolean | 'mlp', Record<string, boolean>, number?]>) {
      const of = modelSpec({ ...families[name]!.config, hidden_size: 96, intermediate_size: 200, head_dim: 32, n_embd: 96, n_inner: 200, vocab_size: 500 }, name);
      const lora = modules && { r: 4, alpha: 4, rslora: false, targets: loraTargets(of, [...modules]) };
      const before = gpu.bytesNow;
      const engine = await inMixed(gpu, async () => {
        const policy = await loadParameters(gpu, of, Object.fromEntries(parameterSpecs(of).map((p, i) => [p.name, normals(i, p.shape.reduce((a, b) => a * b, 1), 0.1)])), !lora);
        return makeEngine(gpu, lora ? policy.with(new Adapters(gpu, of, lora, true, dropout)) : policy, 'sft', { kind: 'none' }, { rows, capacity: { rows, sequences: 256 }, gradientCheckpointing: checkpointing });
      });
      const got = gpu.bytesNow - before;
      const plan = memoryPlan({ spec: of, rows, keep: checkpointing === 'mlp' ? 'mlp' : checkpointing ? 'checkpoint' : 'train', reference: 'none', rounded: false, mixed: tile, ...(lora ? { lora: { rank: 4, parameters: adapterCount(of, lora), dropout, targets: lora.targets, list: adapterParameters(of, lora).list } } : {}) });
      t.ok(Math.abs(got / plan.total - 1) < 0.03, `${name}, adapters on ${modules?.join() ?? 'none'}, dropout ${dropout}: planned ${plan.total}, allocated ${got}`);
      const { h, act } = engine.acts;
      const { dgate, dup, dPost } = engine['scratch']!;
      t.same(Object.fromEntries(Object.entries({ h, act, dgate, dup, dPost }).map(([key, tensor]) => [key, tensor?.bytes === 4])), want, `${name}: ${JSON.stringify(want)}`);
      t.ok((await steps(engine, documents, 2)).losses.every(Number.isFinite));
      if (act.bytes === 4) t.throws(() => new Program(gpu, 'reads').clear(act), /act .* was made as a packed operand alone/);
    }
  });

  realTest('the real model trains as in f32: loss within 1 %, ε-steps equal where |Δ| is above the bound', async (t) => {
    const folder = ModelFolder.open(sharedData('models', 'stories260K', 'hf'));
    const tokenizer = await loadTokenizer(folder.path);
    const ids = (text: string): number[] => tokenizer.encode(text);
    const texts: Array<[string, string, string]> = [
      ['Once upon a time', ' there was a big red car.', ' no dogs ran.'], ['The little girl', ' was sad today.', ' played with her friend Tim in the park.'], ['Tom saw', ' a bird.', ' the sun.'],
      ['One day, Lily', ' found a shiny stone.', ' sleep blue.'], ['The dog', ' ran fast to the tree.', ' tree fast to.'],
    ];
    const pairs = texts.map(([prompt, chosen, rejected], id) => ({ id, prompt: [1, ...ids(prompt)], branches: [ids(chosen), ids(rejected)] }));
    const build = async (): Promise<Engine> => makeEngine(gpu, await loadWeights(gpu, folder, 'policy'), 'epsilon_dpo', { kind: 'live', parameters: await loadFrozen(gpu, folder, 'reference', { base_dtype: 'auto', load_in_4bit: false, load_in_8bit: false } as RunConfig) }, { rows: 160 });
    const f32 = await steps(await build(), pairs, 20);
    const mixed = await steps(await inMixed(gpu, build), pairs, 20);
    const off = Math.max(...f32.losses.map((l, i) => Math.abs(mixed.losses[i]! - l) / l));
    t.ok(off < 0.01, `losses differ by at most ${(100 * off).toFixed(3)} %: ${f32.losses[0]} to ${f32.losses.at(-1)}`);
    let [worst, differ, counted] = [0, 0, 0];
    f32.deltas.forEach((row, i) => pairs.forEach((_, d) => {
      const [plus, minus, step] = row.slice(3 * d, 3 * d + 3) as [number, number, number];
      const [plusMixed, minusMixed, stepMixed] = mixed.deltas[i]!.slice(3 * d, 3 * d + 3) as [number, number, number];
      worst = Math.max(worst, Math.abs(plus - plusMixed), Math.abs(minus - minusMixed));
      if (Math.min(Math.abs(plus), Math.abs(minus)) < BOUND) return;
      counted++;
      if (step !== stepMixed) differ++;
    }));
    t.ok(differ === 0 && counted > 50, `${differ} of ${counted} ε-steps differ above ${BOUND}; Δ differs by at most ${worst.toExponential(1)}`);
  });
}

