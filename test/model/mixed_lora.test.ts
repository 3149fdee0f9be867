import { readFileSync } from 'node:fs';
import t from 'tap';
import type { RunConfig } from '../../src/config/keys.js';
import { matrixTile } from '../../src/gpu/matrices.js';
import { PAIR_COLUMNS } from '../../src/gpu/ops/document_loss.js';
import { debugRead } from '../../src/gpu/readback.js';
import type { Document } from '../../src/model/batch/pack.js';
import { stepKey } from '../../src/model/batch/row_keys.js';
import type { Engine } from '../../src/model/engine.js';
import { modelSpec, type ModelSpec } from '../../src/model/families/index.js';
import { parameterSpecs } from '../../src/model/families/spec.js';
import { ModelFolder } from '../../src/model/files/hf_folder.js';
import { loadFrozen } from '../../src/model/frozen.js';
import { adapterName, Adapters, adapterSpecs, initialAdapter, loraTargets, savedTensors, type LoraSettings } from '../../src/model/lora.js';
import type { Parameters } from '../../src/model/parameters.js';
import { loadTokenizer } from '../../src/model/text/tokenizer.js';
import { inMixed, loadParameters, makeEngine } from '../helpers/engine.js';
import { testGpu } from '../helpers/gpu.js';
import { adapted, column, randomAdapters, score, type Weights } from '../helpers/lora.js';
import { normals } from '../helpers/rng.js';
import { realTest, sharedData } from '../helpers/shared.js';
import { tinySpec, tinyWeights } from '../helpers/tiny_model.js';

/*
 * LoRA in mixed precision: the products with A and B in f16 matrices, at scales that follow from the adapters as they stand.
 */

const gpu = await testGpu();
const tile = matrixTile(gpu);
const OPTIMISE = { lr: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, maxGradNorm: 1, weightDecay: 0 };
const documents: Document[] = [
  { id: 0, prompt: [1, 5, 9], branches: [[4, 7, 2], [8, 3]] },
  { id: 1, prompt: [1, 6], branches: [[11, 2], [12, 13, 14, 2]] },
  { id: 2, prompt: [1, 2, 3, 4, 5], branches: [[6], [7, 8, 9]] },
];
const allLinear = (spec: ModelSpec, over: Partial<LoraSettings> = {}): LoraSettings => ({ r: 4, alpha: 8, rslora: false, targets: loraTargets(spec, ['all-linear']), ...over });
/** Those of products in f32. */
const inF32 = (engine: Engine): string[] => engine.dispatches(documents).map(({ label }) => label).filter((label) => /matmul\.(?!matrix)/.test(label));

async function steps(engine: Engine, docs: Document[], count: number, from = 0): Promise<Float32Array[]> {
  const tables: Float32Array[] = [];
  for (let i = 0; i < count; i++) {
    engine.stepKey = stepKey(1, from + i);
    const read = engine.microBatch(docs, undefined, 1 / docs.length, true);
    const record = engine.optimise(OPTIMISE);
    tables.push((await read()).table.slice());
    if ((await record()).skipped) throw new Error(`step ${i + 1} was skipped`);
  }
  return tables;
}
const lossOf = (table: Float32Array): number => column(table, 'loss').reduce((a, b) => a + b, 0) * PAIR_COLUMNS.length / table.length;
const trained = async ({ trained }: Parameters): Promise<Weights> => Object.fromEntries(await Promise.all(trained.list.map(async ({ name }) => [name, (await trained.read(name)).slice()] as const)));

if (typeof tile === 'string') {
  t.pass(`no matrices here: ${tile}`);
} else {
  const spec = tinySpec({ hidden_size: 24, intermediate_size: 28, head_dim: tile.MM });
  const base = tinyWeights(spec, 4);
  // As wide beside its depth as a card's, so that copies of small ranks are padded to less than a tile.
  const wide = { ...tile, BM: 4 * tile.MM, BN: 4 * tile.MN, BK: tile.MK, WM: 2, WN: 2 };

  t.test('a row’s log-probs do not depend on its neighbours, nor on the tile; no product is in f32, whatever the rank', async (t) => {
    for (const r of [1, 8, 33]) {
      const settings = allLinear(spec, { r });
      const { policy } = await adapted(gpu, spec, base, settings, randomAdapters(spec, settings, 5, 0.1));
      const f32 = (await score(policy, documents)).logps;
      const all = await inMixed(gpu, async () => {
        const { logps } = await score(policy, documents);
        for (const [i, d] of documents.entries()) {
          const at = documents.slice(0, i).reduce((n, x) => n + x.branches[0]!.length + x.branches[1]!.length, 0);
          const alone = (await score(policy, [d])).logps;
          t.same([...alone], [...logps.subarray(at, at + alone.length)], `rank ${r}, document ${i}: alone and packed`);
        }
        gpu.mixed = wide;
        t.same([...(await score(policy, documents)).logps], [...logps], 'in tiles of another shape');
        return logps;
      });
      const apart = Math.max(...all.map((v, i) => Math.abs(v - f32[i]!)));
      t.ok(apart < 2e-2 && apart > 0, `rank ${r}: log-probs off by ${apart}`);
      const engine = await inMixed(gpu, () => makeEngine(gpu, policy, 'sft', { kind: 'none' }));
      t.same(inF32(engine), [], `rank ${r}`);
    }
  });

  t.test('scales follow the adapters: zeros at the start, an adapter loaded again scores as it did in training, a state restored goes on to the same bits', async (t) => {
    for (const [dropout, shape] of [[0, tile], [0.3, wide]] as const) {
      const settings = allLinear(spec, { rslora: true, saved: savedTensors(spec, ['lm_head', '.norm'], loraTargets(spec, ['all-linear'])) });
      const start = Object.fromEntries(adapterSpecs(spec, settings).map((p) => [p.name, p.name.includes('lora_') ? new Float32Array(p.shape[0]! * p.shape[1]!) : base[p.name.replace('base_model.model.', '')]!]));
      for (const weight of settings.targets) {
        const { name, shape: of } = adapterSpecs(spec, settings).find((p) => p.name === adapterName(weight, 'A'))!;
        start[name] = initialAdapter(spec, weight, 'A', of, 42);
      }
      const build = (): Promise<Engine> => inMixed(gpu, async () => {
        gpu.mixed = shape;
        const { base: reference, policy } = await adapted(gpu, spec, base, settings, start, dropout);
        return makeEngine(gpu, policy, 'epsilon_dpo', { kind: 'live', parameters: reference });
      });
      const engine = await build();
      t.ok((await engine.operands!.state()).scales.every((s) => Number.isInteger(Math.log2(s))), 'zeros have a finite scale');
      const first = (await engine.microBatch(documents, undefined, 1 / 3, false)()).table;
      t.ok([...column(first, 'epsilon_step'), ...column(first, 'delta_plus')].every((x) => x === 0), 'ties are exact');
      const before = (await engine.operands!.state()).scales;
      await steps(engine, documents, 3);
      const state = await engine.operands!.state();
      t.notSame(state.scales, before);

      // As an adapter's folder would be opened.
      const now = await trained(engine.options.policy);
      const logps = [...column((await engine.microBatch(documents, undefined, 1 / 3, false)()).table, 'policy_logps_chosen')];
      const evaluation = await inMixed(gpu, async () => {
        gpu.mixed = shape;
        const frozen = await loadParameters(gpu, spec, base, false);
        const adapters = new Adapters(gpu, spec, settings, false);
        await adapters.load((weight, side) => now[adapterName(weight, side)]!);
        return makeEngine(gpu, frozen.with(adapters), 'epsilon_dpo', { kind: 'live', parameters: frozen }, { training: false });
      });
      t.same(column((await evaluation.microBatch(documents, undefined, 1 / 3, false)()).table, 'policy_logps_chosen'), logps, `dropout ${dropout}: the saved adapter, loaded beside its base`);

      const other = await build();
      const to = new Map([...other.optimiserState!.kept()].map(({ name, tensor }) => [name, tensor]));
      for (const { name, tensor } of engine.optimiserState!.kept()) to.get(name)!.write(await debugRead(tensor));
      other.setState((await debugRead(engine.betaState))[0]!, await engine.readStepState());
      other.setOperands(state);
      await other.operands!.repack();
      t.same((await other.operands!.state()).scales, state.scales, 'scales from the weights are those of the checkpoint');
      t.same(await steps(other, documents, 2, 3), await steps(engine, documents, 2, 3), `dropout ${dropout}: two more steps`);
      t.same(await trained(other.options.policy), await trained(engine.options.policy));
      t.throws(() => engine.setOperands({ ...state, scales: state.scales.slice(0, -3) }), /scales of f16 operands, this run/);
    }
  });

  t.test('dropout beyond what the scales leave room for stays in f32, as adapters do without the path', async (t) => {
    const build = (dropout: number): Promise<Engine> => inMixed(gpu, async () => {
      const settings = allLinear(spec);
      const { policy, base: reference } = await adapted(gpu, spec, base, settings, randomAdapters(spec, settings, 5, 0.05), dropout);
      return makeEngine(gpu, policy, 'sigmoid', { kind: 'live', parameters: reference });
    });
    t.same(inF32(await build(0.75)), []);
    // Forward two, inner states again and four of the backward pass for each of 14 matrices.
    t.equal(inF32(await build(0.8)).length, 7 * 14);
    gpu.without.add('lora_matrices');
    try {
      t.equal(inF32(await build(0)).length, 7 * 14);
    } finally {
      gpu.without.delete('lora_matrices');
    }
    const tables = await steps(await build(0.75), documents, 3);
    t.ok(tables.every((table) => table.every(Number.isFinite)));
  });

  t.test('every family: log-probs near those of f32 with adapters on fused and transposed matrices too, the loss falls', async (t) => {
    const { families } = JSON.parse(readFileSync('test/goldens/families.json', 'utf8')) as { families: Record<string, { config: Record<string, unknown> }> };
    for (const name of ['phi3', 'gpt2', 'gpt-neox', 'gemma2', 'gemma3', 'qwen3', 'stablelm']) {
      const of = modelSpec({ ...families[name]!.config, vocab_size: 60 }, name);
      const values = Object.fromEntries(parameterSpecs(of).map((p, i) => [p.name, normals(i + 1, p.shape.reduce((a, b) => a * b, 1), p.shape.length === 2 ? 0.08 : 0.1).map((v) => (p.shape.length === 1 && /norm|ln_/.test(p.name) && !/bias/.test(p.name) ? 1 + v : v))]));
      const settings = allLinear(of);
      const { policy } = await adapted(gpu, of, values, settings, randomAdapters(of, settings, 7, 0.05));
      const f32 = (await score(policy, documents)).logps;
      const got = await inMixed(gpu, async () => (await score(policy, documents)).logps);
      const off = Math.max(...got.map((v, i) => Math.abs(v - f32[i]!)));
      t.ok(off < 2e-2, `${name}: log-probs off by ${off}`);
      const engine = await inMixed(gpu, () => makeEngine(gpu, policy, 'sft', { kind: 'none' }));
      t.same(inF32(engine), [], name);
      const losses = (await steps(engine, documents, 3)).map(lossOf);
      t.ok(losses.every(Number.isFinite) && losses[2]! < losses[0]!, `${name}: ${losses.join(', ')}`);
    }
  });

  t.test('inputs and inner states beyond f16 survive', async (t) => {
    const large = Object.fromEntries(Object.entries(base).map(([name, w]) => [name, w.map((v) => v * (/gate_proj/.test(name) ? 300 : /up_proj/.test(name) ? 3000 : /down_proj/.test(name) ? 1e-6 : 1))]));
    const settings = allLinear(spec);
    const values = Object.fromEntries(Object.entries(randomAdapters(spec, settings, 9, 0.1)).map(([name, w]) => [name, w.map((v) => v * (/down_proj.*lora_A/.test(name) ? 1e3 : /down_proj.*lora_B/.test(name) ? 1e-9 : 1))]));
    const { policy } = await adapted(gpu, spec, large, settings, values);
    const f32 = (await score(policy, documents)).logps;
    const got = await inMixed(gpu, async () => (await score(policy, documents)).logps);
    t.ok(got.every((v, i) => Math.abs(v - f32[i]!) < 2e-2), `${Math.max(...got.map((v, i) => Math.abs(v - f32[i]!)))}`);
    const tables = await steps(await inMixed(gpu, () => makeEngine(gpu, policy, 'sft', { kind: 'none' })), documents, 3);
    t.ok(tables.every((table) => table.every(Number.isFinite)));
  });

  realTest('the real model trains its adapters as in f32: 20 steps of ε-DPO, loss within 1 %', async (t) => {
    const folder = ModelFolder.open(sharedData('models', 'stories260K', 'hf'));
    const tokenizer = await loadTokenizer(folder.path);
    const texts: Array<[string, string, string]> = [
      ['Once upon a time', ' there was a big red car.', ' no dogs ran.'], ['The little girl', ' was sad today.', ' played with her friend Tim in the park.'], ['Tom saw', ' a bird.', ' the sun.'],
      ['One day, Lily', ' found a shiny stone.', ' sleep blue.'], ['The dog', ' ran fast to the tree.', ' tree fast to.'],
    ];
    const pairs = texts.map(([prompt, ...responses], id) => ({ id, prompt: [1, ...tokenizer.encode(prompt)], branches: responses.map((text) => tokenizer.encode(text)) }));
    const settings = allLinear(folder.spec, { r: 8, alpha: 16 });
    const build = async (): Promise<Engine> => {
      const frozen = await loadFrozen(gpu, folder, 'policy', { base_dtype: 'auto', load_in_4bit: false, load_in_8bit: false } as RunConfig);
      const adapters = new Adapters(gpu, folder.spec, settings, true);
      await adapters.load((weight, side, shape) => initialAdapter(folder.spec, weight, side as 'A' | 'B', shape, 42));
      return makeEngine(gpu, frozen.with(adapters), 'epsilon_dpo', { kind: 'live', parameters: frozen }, { rows: 160 });
    };
    const f32 = (await steps(await build(), pairs, 20)).map(lossOf);
    const engine = await inMixed(gpu, build);
    t.same(inF32(engine), []);
    const mixed = (await steps(engine, pairs, 20)).map(lossOf);
    const off = Math.max(...f32.map((l, i) => Math.abs(mixed[i]! - l) / l));
    t.ok(off < 0.01 && off > 0, `losses differ by at most ${(100 * off).toFixed(3)} %: ${f32[0]} to ${f32.at(-1)}`);
  });
}
