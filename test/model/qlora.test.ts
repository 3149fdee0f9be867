import t from 'tap';
import type { Gpu } from '../../src/gpu/device.js';
import { PAIR_COLUMNS } from '../../src/gpu/ops/document_loss.js';
import { weightBytes, WEIGHT_FORMATS, type PackedFormat } from '../../src/gpu/packed.js';
import type { Document } from '../../src/model/batch/pack.js';
import { modelSpec, type ModelSpec } from '../../src/model/families/index.js';
import { parameterSpecs } from '../../src/model/families/spec.js';
import { decode16, encode16 } from '../../src/model/files/float_formats.js';
import { adapterCount, adapterName, adapterOf, adapterParameters, Adapters, adapterSpecs, loraScale, loraTargets, type LoraSettings } from '../../src/model/lora.js';
import { memoryPlan } from '../../src/model/memory.js';
import type { Parameters } from '../../src/model/parameters.js';
import { Scorer } from '../../src/model/scorer.js';
import { describeStorage, frozenStorage, isLayerMatrix, lossyName, type FrozenSource, type Storage } from '../../src/model/storage.js';
import { close } from '../helpers/close.js';
import { loadParameters, makeEngine } from '../helpers/engine.js';
import { testGpu } from '../helpers/gpu.js';
import { normals, rng } from '../helpers/rng.js';
import { tinySpec, tinyWeights } from '../helpers/tiny_model.js';

type Weights = Record<string, Float32Array>;
const PACKED = WEIGHT_FORMATS.filter((f): f is PackedFormat => f !== 'f32');
const column = (table: Float32Array, name: (typeof PAIR_COLUMNS)[number]): number[] =>
  Array.from({ length: table.length / PAIR_COLUMNS.length }, (_, i) => table[i * PAIR_COLUMNS.length + PAIR_COLUMNS.indexOf(name)]!);

/** Layers in this format, tables in it too where they may be, else in bf16: what `load_in_4bit` makes of a bf16 checkpoint. */
const storageOf = (spec: ModelSpec, format: PackedFormat): Storage => (p) => (p.shape.length !== 2 ? 'f32' : isLayerMatrix(spec, p) || format === 'f16' ? format : 'bf16');

async function withAdapters(gpu: Gpu, spec: ModelSpec, frozen: Parameters, settings: LoraSettings, values: Weights): Promise<Parameters> {
  const adapters = new Adapters(gpu, spec, settings, true);
  await adapters.load((weight, side) => values[adapterName(weight, side)]!);
  return frozen.with(adapters);
}
const adapterValues = (spec: ModelSpec, settings: LoraSettings, size: number, zeroB = false): Weights =>
  Object.fromEntries(adapterSpecs(spec, settings).map((p, i) => [p.name, zeroB && p.name.includes('lora_B') ? new Float32Array(p.shape[0]! * p.shape[1]!) : normals(i + 1, p.shape[0]! * p.shape[1]!, size)]));

/** What the packed weights stand for, with s·B·A added to the targets. */
async function mergedOf(frozen: Parameters, settings: LoraSettings, values: Weights): Promise<{ base: Weights; merged: Weights }> {
  const base: Weights = {};
  const merged: Weights = {};
  for (const p of frozen.list) {
    const w = (base[p.name] = await frozen.read(p.name));
    merged[p.name] = w;
    const adapter = adapterOf(frozen.spec, settings, p.name, (weight, side) => values[adapterName(weight, side)]!);
    if (!adapter) continue;
    const [I, r] = [p.shape[1]!, settings.r];
    merged[p.name] = w.map((v, at) => {
      const [o, i] = [Math.floor(at / I), at % I];
      let sum = v;
      for (let k = 0; k < r; k++) sum += loraScale(settings) * adapter.b[o * r + k]! * adapter.a[k * I + i]!;
      return sum;
    });
  }
  return { base, merged };
}

const r = rng(5);
const tokens = (n: number): number[] => Array.from({ length: n }, () => r.int(37));
const documents: Document[] = [[4, 5, 3], [1, 2, 9], [7, 1, 1], [12, 20, 17], [3, 6, 6]].map(([p, c, j], id) => ({ id, prompt: tokens(p!), branches: [tokens(c!), tokens(j!)] }));

// Sizes by four with several blocks of 64 in a matrix, and rows that are no multiple of anything.
for (const over of [{ hidden_size: 32, intermediate_size: 44, head_dim: 8 }, {}]) {
  const spec = tinySpec(over);
  const settings = { r: 4, alpha: 8, rslora: false, targets: loraTargets(spec, ['all-linear']) };
  t.test(`width ${spec.D}: ε-steps on a packed base, adapters off and cached, are those of the merged model with a live reference; gradients those on the same base in f32`, async (t) => {
    const gpu = await testGpu();
    const weights = tinyWeights(spec, 4);
    const values = adapterValues(spec, settings, 0.1);
    // Formats differ in the loads alone, which test/ops/packed_weights.test.ts has one by one.
    for (const format of spec.D === 20 ? (['nf4_double'] as const) : PACKED) {
      const frozen = await loadParameters(gpu, spec, weights, false, 'base', storageOf(spec, format));
      const { base, merged } = await mergedOf(frozen, settings, values);
      const policy = await withAdapters(gpu, spec, frozen, settings, values);
      const off = await makeEngine(gpu, policy, 'epsilon_dpo', { kind: 'live', parameters: frozen });
      const { table: a } = await off.microBatch(documents, undefined, 1 / documents.length, true)();

      const plain = await loadParameters(gpu, spec, base, false, 'reference');
      const live = await makeEngine(gpu, await loadParameters(gpu, spec, merged, false, 'merged'), 'epsilon_dpo', { kind: 'live', parameters: plain }, { training: false });
      const { table: b } = await live.microBatch(documents, undefined, 1 / documents.length, false)();
      t.same(column(a, 'epsilon_step'), column(b, 'epsilon_step'), `${format}: the steps of the merged model`);
      t.ok(column(a, 'epsilon_step').some((x) => x !== 0), `${format}: ${column(a, 'epsilon_step').join(' ')}`);
      for (const name of ['policy_logps_chosen', 'ref_logps_rejected', 'loss'] as const) close(t, `${format} ${name}`, column(a, name), column(b, name), { atol: 2e-5, rtol: 1e-5, name: 'rounding' });

      const cached = await makeEngine(gpu, policy, 'epsilon_dpo', { kind: 'cache', head: frozen, rounded: false }, { training: false });
      const scorer = await new Scorer(gpu, frozen, { rows: 256, sequences: 32 }, true).ready();
      const states = await scorer.submit(documents)();
      const { table: c } = await cached.microBatch(documents, { logps: states.logps.slice(), hidden: states.hidden!.slice() }, 1 / documents.length, false)();
      t.same([...c], [...a], `${format}: a cache of the base and adapters off, the same bits`);

      const same = await withAdapters(gpu, spec, plain, settings, values);
      const wide = await makeEngine(gpu, same, 'epsilon_dpo', { kind: 'live', parameters: plain });
      await wide.microBatch(documents, undefined, 1 / documents.length, true)();
      for (const { name } of same.adapters!.parameters.list) {
        const [got, want] = [await policy.adapters!.parameters.read(name, 'grad'), await same.adapters!.parameters.read(name, 'grad')];
        const norm = Math.hypot(...want);
        t.ok(norm > 0 && Math.hypot(...got.map((v, i) => v - want[i]!)) < 1e-4 * norm, `${format} ${name}`);
      }

      const start = await makeEngine(gpu, await withAdapters(gpu, spec, frozen, settings, adapterValues(spec, settings, 0.1, true)), 'epsilon_dpo', { kind: 'live', parameters: frozen }, { training: false });
      const { table: first } = await start.microBatch(documents, undefined, 1 / documents.length, false)();
      t.ok(column(first, 'epsilon_step').every((x) => x === 0) && column(first, 'delta_plus').every((x) => x === 0), `${format}: ties are exact at the start`);
    }
  });
}

t.test('a policy in f32 and its reference in 16 bits that hold the same weights: ties to the bit', async (t) => {
  const gpu = await testGpu();
  const spec = tinySpec();
  for (const [format, file] of [['f16', 'F16'], ['bf16', 'BF16']] as const) {
    const weights = Object.fromEntries(Object.entries(tinyWeights(spec, 3)).map(([name, w]) => [name, decode16(encode16(w, file), file)]));
    const reference = await loadParameters(gpu, spec, weights, false, 'reference', storageOf(spec, format));
    const policy = await loadParameters(gpu, spec, weights, true);
    const engine = await makeEngine(gpu, policy, 'epsilon_dpo', { kind: 'live', parameters: reference }, { training: false });
    const { table } = await engine.microBatch(documents, undefined, 1 / documents.length, false)();
    t.same(column(table, 'policy_logps_chosen'), column(table, 'ref_logps_chosen'));
    t.ok(column(table, 'epsilon_step').every((x) => x === 0) && column(table, 'delta_plus').every((x) => x === 0), format);
  }
});

t.test('the plan is what is allocated, to 3 %, in every format', async (t) => {
  const gpu = await testGpu();
  const spec = tinySpec({ vocab_size: 1500, hidden_size: 96, intermediate_size: 200, head_dim: 16 });
  const settings = { r: 8, alpha: 16, rslora: false, targets: loraTargets(spec, ['all-linear']) };
  const lora = { rank: 8, parameters: adapterCount(spec, settings), list: adapterParameters(spec, settings).list };
  const weights = Object.fromEntries(parameterSpecs(spec).map((p) => [p.name, new Float32Array(p.shape.reduce((a, b) => a * b, 1))]));
  for (const format of PACKED) {
    const storage = storageOf(spec, format);
    const before = gpu.bytesNow;
    const frozen = await loadParameters(gpu, spec, weights, false, 'base', storage);
    const held = gpu.bytesNow - before;
    await makeEngine(gpu, await withAdapters(gpu, spec, frozen, settings, adapterValues(spec, settings, 1)), 'epsilon_dpo', { kind: 'cache', head: frozen, rounded: false }, { rows: 128, capacity: { rows: 128, sequences: 32 } });
    const got = gpu.bytesNow - before;
    const plan = memoryPlan({ spec, rows: 128, keep: 'train', reference: 'head', rounded: false, lora, sharedReference: true, storage: { policy: storage, reference: storage } });
    t.ok(Math.abs(got / plan.total - 1) < 0.03, `${format}: planned ${plan.total}, allocated ${got}`);
    t.ok(Math.abs(held / plan.parts['weights']! - 1) < 0.03, `${format}: weights planned ${plan.parts['weights']}, allocated ${held}`);
    t.equal(frozen.bytes, plan.parts['weights']);
  }
  t.equal(Math.round((weightBytes('nf4_double', 4096, 4096) * 8e3) / 4096 / 4096) / 1e3, 4.127, 'bits a weight with double quantisation');
});

t.test('storage by the keys: the files’ own formats lose nothing; what an adapter is added to is f32; lossy ones have a name', async (t) => {
  const spec = tinySpec();
  const keys = { base_dtype: 'auto', load_in_4bit: false, load_in_8bit: false, use_bnb_nested_quant: false } as const;
  const files = { spec, formatOf: () => 'BF16' as const };
  const of = (name: string): ReturnType<typeof parameterSpecs>[number] => parameterSpecs(spec).find((p) => p.name === name)!;
  const [q, k, embed, gain] = [spec.names.layers[0]!.q, spec.names.layers[0]!.k, spec.names.embed, spec.names.norm].map(of);
  const at = (over: object, source: FrozenSource = files): string[] => [q!, k!, embed!, gain!].map(frozenStorage({ ...keys, ...over }, source));
  t.same(at({}), ['bf16', 'bf16', 'bf16', 'f32']);
  t.same(at({}, { ...files, adapter: { settings: { targets: [q!.name] } } }), ['f32', 'bf16', 'bf16', 'f32']);
  t.same(at({ base_dtype: 'float32' }), ['f32', 'f32', 'f32', 'f32']);
  t.same(at({ load_in_8bit: true }), ['int8', 'int8', 'bf16', 'f32']);
  t.same(at({ load_in_4bit: true, use_bnb_nested_quant: true, base_dtype: 'float16' }), ['nf4_double', 'nf4_double', 'f16', 'f32']);
  const name = (over: object): string | undefined => lossyName(frozenStorage({ ...keys, ...over }, files), files);
  t.equal(name({}), undefined);
  t.equal(name({ base_dtype: 'float32' }), undefined);
  t.equal(name({ load_in_4bit: true }), 'matrices nf4');
  t.equal(name({ base_dtype: 'float16' }), 'tables f16, matrices f16');
  t.equal(describeStorage(frozenStorage({ ...keys, load_in_4bit: true }, files), spec), 'layers’ matrices in NF4, embeddings and head in bfloat16');
  const gpt2 = modelSpec({ model_type: 'gpt2', n_embd: 24, n_layer: 1, n_head: 4, n_positions: 40, vocab_size: 41 }, 'gpt2');
  t.equal(frozenStorage({ ...keys, load_in_4bit: true }, { spec: gpt2, formatOf: () => 'F32' })(parameterSpecs(gpt2).find((p) => p.name === gpt2.names.positions)!), 'f32', 'learned positions are no matrix of a layer');
});
