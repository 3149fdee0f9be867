import t from 'tap';
import { matrixTile } from '../../src/gpu/matrices.js';
import { gradNorm, gradNormSlots, stepState } from '../../src/gpu/ops/grad_norm.js';
import { Program } from '../../src/gpu/program.js';
import { debugRead, debugReadU32 } from '../../src/gpu/readback.js';
import { PART_ALIGN, type Tensor } from '../../src/gpu/tensor.js';
import type { Document } from '../../src/model/batch/pack.js';
import { ARENA_TENSOR_BYTES, arenaExtra, inArena, layArenas } from '../../src/model/arena.js';
import type { ParameterSpec } from '../../src/model/families/spec.js';
import { Adapters, loraTargets } from '../../src/model/lora.js';
import { optimisers, OPTIMISER_NAMES, type OptimiserName } from '../../src/model/optim/index.js';
import { OptimiserState } from '../../src/model/optim/state.js';
import { Parameters } from '../../src/model/parameters.js';
import { IN_F32, trainedStorage } from '../../src/model/storage.js';
import { close, reduce } from '../helpers/close.js';
import { loadParameters, makeEngine } from '../helpers/engine.js';
import { output, testGpu } from '../helpers/gpu.js';
import { normals, rng } from '../helpers/rng.js';
import { tinySpec, tinyWeights } from '../helpers/tiny_model.js';
import { adamw as adamwTwin } from '../reference/small_ops.js';

const sizeOf = ({ shape }: ParameterSpec): number => shape.reduce((a, b) => a * b, 1);
const spec = (name: string, ...shape: number[]): ParameterSpec => ({ name, shape, table: false });
const bf16 = trainedStorage({ master_dtype: 'bfloat16' });

t.test('arenas: vectors and small f32 matrices, each by rising size, aligned and apart; tables, large matrices and bf16 masters in none', async (t) => {
  const large = spec('large', 512, 512);
  t.equal(large.shape.reduce((a, b) => a * b) * 4, ARENA_TENSOR_BYTES);
  const list = [spec('m', 7, 5), spec('a', 65), { ...spec('table', 3, 4), table: true }, spec('b', 3), large, spec('c', 1), spec('n', 1, 7), spec('d', 64)];
  const [vectors, matrices] = layArenas(list, IN_F32, 1e9);
  const laid = (l: typeof vectors): Array<[string, number]> => l!.members.map(({ spec: { name }, offset }) => [name, offset]);
  t.same(laid(vectors), [['c', 0], ['b', 256], ['d', 512], ['a', 768]]);
  t.same([vectors!.bytes, vectors!.group], [768 + 512, 'vectors']);
  t.same(laid(matrices), [['n', 0], ['m', 256]]);
  t.same(arenaExtra(list, IN_F32), { values: vectors!.bytes + matrices!.bytes - 4 * (65 + 3 + 1 + 64 + 35 + 7), gradients: vectors!.bytes + matrices!.bytes - 4 * (65 + 3 + 1 + 64 + 35 + 7) + 6 * 12 });
  t.same([list[1]!, list[2]!, large].map((p) => inArena(p, IN_F32)), [true, false, false]);
  t.same(layArenas(list, bf16, 1e9).map(({ group }) => group), ['vectors'], 'bf16 masters stand alone');
  const small = layArenas(list, IN_F32, 2 * PART_ALIGN);
  t.same(small.map((l) => laid(l).map(([name]) => name)), [['c', 'b'], ['d'], ['a'], ['n', 'm']], 'of at most so many bytes, or of one tensor');
  t.ok(small.every((l) => l.members[0]!.offset === 0));
});

t.test('parameters in arenas: each reads and writes its own, gradients are few buffers, memory is counted and given back', async (t) => {
  const gpu = await testGpu();
  const model = tinySpec({ hidden_size: 21, model_type: 'qwen2' });
  const before = gpu.bytesNow;
  const weights = tinyWeights(model, 1);
  const policy = await loadParameters(gpu, model, weights, true);
  for (const { name } of policy.list) t.same(await policy.read(name), weights[name], name);
  const grown = gpu.bytesNow - before;
  t.ok(grown >= policy.bytes && grown < policy.bytes + 16 * policy.gradients.length * 2, `${policy.bytes} bytes, allocated ${grown}`);
  const tables = policy.list.filter((p) => p.table).flatMap((p) => p.pieces).length;
  t.equal(policy.gradients.length, policy.arenas.length + tables);
  if (gpu.limits.tableSplitBytes > 1 << 20) t.same(policy.arenas.map(({ group }) => group), ['vectors', 'matrices']);
  policy.destroy();
  t.equal(gpu.bytesNow, before);
  const frozen = await loadParameters(gpu, model, weights, false);
  t.same(frozen.arenas, [], 'frozen weights lie apart');
  frozen.destroy();
  gpu.without = new Set(['parameter_arena']);
  const apart = new Parameters(gpu, model, true);
  gpu.without = new Set();
  t.ok(apart.arenas.length === 0 && apart.gradients.length === apart.pieces.length);
  apart.destroy();
});

const r = rng(6);
const tokens = (n: number): number[] => Array.from({ length: n }, () => r.int(37));
const documents: Document[] = [[4, 5, 3], [1, 2, 9], [7, 1, 1]].map(([p, c, j], id) => ({ id, prompt: tokens(p!), branches: [tokens(c!), tokens(j!)] }));

interface Way {
  optimiser: OptimiserName;
  momentum?: number;
  lora?: boolean;
  bf16?: boolean;
  mixed?: boolean;
  model?: Record<string, unknown>;
  /** Dispatches of the optimiser's own kernels, those of a name, with arenas. */
  dispatches?: [RegExp, number];
}
interface Trained { kept: Map<string, Uint32Array>; records: number[][]; labels: string[]; wholes: Array<{ whole: Tensor; parts: Tensor[] }> }

/** Five steps of ε-DPO, clipped, the third of them not finite; `from` are tensors of a checkpoint to begin with. */
async function train(way: Way, arenas: boolean, from?: Map<string, Uint32Array>): Promise<Trained> {
  const gpu = await testGpu();
  const tile = matrixTile(gpu);
  gpu.without = new Set(arenas ? [] : ['parameter_arena', 'grad_norm_grouped']);
  gpu.mixed = way.mixed && typeof tile !== 'string' ? tile : undefined;
  try {
    const model = tinySpec(way.model ?? { hidden_size: 21, model_type: 'qwen2' });
    const reference = await loadParameters(gpu, model, tinyWeights(model, 5), false, 'reference');
    let policy = await loadParameters(gpu, model, tinyWeights(model, 4), !way.lora, 'policy', way.bf16 ? bf16 : undefined);
    if (way.lora) {
      const settings = { r: 3, alpha: 6, rslora: false, targets: loraTargets(model, ['all-linear']), saved: ['model.norm.weight', 'lm_head.weight'] };
      const adapters = new Adapters(gpu, model, settings, true);
      await adapters.load((weight, side, shape) => (side === 'saved' ? tinyWeights(model, 4)[weight]! : normals(weight.length + (side === 'A' ? 1 : 2), shape[0]! * shape[1]!, 0.1)));
      policy = policy.with(adapters);
    }
    const engine = await makeEngine(gpu, policy, 'epsilon_dpo', { kind: 'live', parameters: reference }, { optimiser: optimisers[way.optimiser], optimiserSettings: { momentum: way.momentum ?? 0 } });
    const state = engine.optimiserState!;
    if (from) for (const { name, tensor } of state.kept()) tensor.write(from.get(name)!);
    const records: number[][] = [];
    for (let step = 0; step < 5; step++) {
      engine.stepKey = 40 + step;
      await engine.microBatch(documents, undefined, 1 / documents.length, true)();
      if (step === 2) policy.trained.pieces.find(({ value }) => value.shape.length === 1)!.moments!.grad.write(Float32Array.of(Infinity), 2);
      const { gradNorm, skipped, t: count, beta } = await engine.optimise({ lr: 1e-2, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, maxGradNorm: 0.05, weightDecay: 0.1 })();
      records.push([gradNorm, Number(skipped), count, beta]);
    }
    const kept = new Map<string, Uint32Array>();
    for (const { name, tensor } of state.kept()) kept.set(name, await debugReadU32(tensor));
    const wholes = new Map<Tensor, Tensor[]>();
    for (const { pieces } of state.tensors) for (const { value, grad, state: own } of pieces) for (const part of [value, grad, ...Object.values(own)]) if (part.whole) wholes.set(part.whole, [...(wholes.get(part.whole) ?? []), part]);
    return { kept, records, labels: engine.optimiserDispatches().list.map(({ label }) => label), wholes: [...wholes].map(([whole, parts]) => ({ whole, parts })) };
  } finally {
    gpu.without = new Set();
    gpu.mixed = undefined;
  }
}

/** Numbers of a whole that are in no part. */
async function between({ whole, parts }: Trained['wholes'][number]): Promise<number[]> {
  const values = await debugRead(whole);
  const inside = new Uint8Array(values.length);
  for (const { place, elements } of parts) inside.fill(1, place.offset / 4, place.offset / 4 + elements);
  return [...values].filter((_, i) => inside[i] === 0);
}

const times = (labels: string[], pattern: RegExp): number => labels.filter((label) => pattern.test(label)).length;

for (const [what, way] of Object.entries<Way>({
  ...Object.fromEntries(OPTIMISER_NAMES.map((optimiser) => [optimiser, { optimiser }])),
  // Blocks of 256 end within a tensor: 64 x 81 elements are 20 and a quarter, 64 x 65 sixteen and a quarter.
  '8-bit AdamW of larger matrices': { optimiser: 'adamw_8bit', model: { hidden_size: 64, intermediate_size: 81, num_hidden_layers: 2 }, dispatches: [/^adamw_8bit/, 1] },
  '8-bit AdamW of matrices and long vectors': { optimiser: 'adamw_8bit', model: { hidden_size: 4100, intermediate_size: 5, num_attention_heads: 1, num_key_value_heads: 1, head_dim: 2, num_hidden_layers: 1 }, dispatches: [/^adamw_8bit_arena/, 2] },
  'SGD with momentum': { optimiser: 'sgd', momentum: 0.9 },
  'LoRA, with tensors trained in full': { optimiser: 'adamw_torch', lora: true },
  'LoRA, 8-bit AdamW': { optimiser: 'adamw_8bit', lora: true },
  'bf16 masters': { optimiser: 'adamw_torch', bf16: true },
  'mixed precision': { optimiser: 'adamw_torch', mixed: true, model: { hidden_size: 24, intermediate_size: 28, head_dim: 8 } },
  'mixed precision, SGD': { optimiser: 'sgd', mixed: true, model: { hidden_size: 24, intermediate_size: 28, head_dim: 8 } },
  'mixed precision, 8-bit AdamW': { optimiser: 'adamw_8bit', mixed: true, model: { hidden_size: 72, intermediate_size: 84, head_dim: 24, num_attention_heads: 3, num_key_value_heads: 1, num_hidden_layers: 2 }, dispatches: [/^adamw_8bit/, 1] },
  'mixed precision, LoRA': { optimiser: 'adamw_torch', mixed: true, lora: true, model: { hidden_size: 24, intermediate_size: 28, head_dim: 8 } },
})) {
  t.test(`${what}: five steps, clipped, one skipped, have the bits of tensors that lie apart; between them are zeros; either goes on from the other’s checkpoint`, async (t) => {
    const [apart, together] = [await train(way, false), await train(way, true)];
    t.same(apart.records.map(([, skipped]) => skipped), [0, 0, 1, 0, 0]);
    t.ok(apart.records[0]![0]! > 0.05, 'gradients are clipped');
    t.same(together.records, apart.records, 'norms, skips, t and β');
    t.same([...together.kept.keys()], [...apart.kept.keys()], 'names in a checkpoint');
    for (const [name, bits] of apart.kept) t.same(together.kept.get(name), bits, name);
    t.ok(together.wholes.length >= 2 && apart.wholes.length === 0);
    for (const x of together.wholes) t.ok((await between(x)).every((v) => v === 0), `${x.whole.label}: zeros behind ${x.parts.map(({ elements }) => elements).join(', ')} elements`);
    const [on, over] = [await train(way, false, apart.kept), await train(way, true, apart.kept)];
    t.same(over.records, on.records, 'resumed');
    for (const [name, bits] of on.kept) t.same(over.kept.get(name), bits, `resumed: ${name}`);
    const count = (labels: string[]): number[] => [times(labels, /^(adamw|sgd|adafactor)/), times(labels, /^grad_norm/)];
    t.comment(`optimiser and norm: ${count(apart.labels).join(' and ')} dispatches apart, ${count(together.labels).join(' and ')} together`);
    t.ok(count(together.labels)[1]! < count(apart.labels)[1]!, 'fewer dispatches of the norm');
    // Where tables are to be in small pieces, so are arenas: one for each long vector.
    const whole = (await testGpu()).limits.tableSplitBytes > 1 << 20;
    if (way.dispatches && whole) t.equal(times(together.labels, way.dispatches[0]), way.dispatches[1], 'of these');
    if (way.optimiser !== 'adafactor' && (whole || !way.dispatches)) t.ok(count(together.labels)[0]! < count(apart.labels)[0]!, 'and of the optimiser');
  });
}

t.test('tensors of 1, 3 and 7 elements in arenas: norm, clipping, a skip and AdamW as the f64 twin has them, to the bits of tensors apart', async (t) => {
  const gpu = await testGpu();
  const specs = [spec('one', 1), spec('three', 3), spec('seven', 7), spec('w', 3, 7), spec('x', 1, 1)];
  const start = (p: ParameterSpec): Float32Array => normals(p.name.length, sizeOf(p));
  const gradient = (p: ParameterSpec, step: number): Float32Array => normals(100 * step + specs.indexOf(p), sizeOf(p), step === 3 ? 0.001 : 1);
  const o = { lr: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, maxNorm: 0.5 };
  const run = async (arenas: boolean): Promise<{ values: Float32Array[]; states: Float32Array[] }> => {
    gpu.without = new Set(arenas ? [] : ['parameter_arena']);
    const policy = new Parameters(gpu, tinySpec(), true, 'small', specs);
    gpu.without = new Set();
    t.equal(policy.arenas.length, arenas ? 2 : 0);
    await policy.load(start);
    const state = new OptimiserState(gpu, policy, optimisers.adamw_torch, { momentum: 0 });
    const grads = policy.pieces.map(({ moments }) => moments!.grad);
    const [partials, stepTensor] = [output(gpu, 'partials', [gradNormSlots(grads)]), output(gpu, 'step_state', [16])];
    const p = new Program(gpu, 'optimiser');
    gradNorm(p, { grads, partials });
    stepState(p, { partials, stepState: stepTensor }, { maxNorm: o.maxNorm, beta1: o.beta1, beta2: o.beta2, oneMinusBeta1: 1 - o.beta1, oneMinusBeta2: 1 - o.beta2 });
    state.record(p, stepTensor);
    for (const grad of policy.gradients) p.clear(grad);
    // Two arenas: a dispatch of the norm for each, one of AdamW, a clear; without arenas one norm of all.
    t.same([p.length, p.clears], arenas ? [7, 2] : [1 + 1 + 5 + 5, 5]);
    const states: Float32Array[] = [];
    for (let step = 0; step < 6; step++) {
      policy.list.forEach((x) => x.pieces[0]!.moments!.grad.write(gradient(specs.find(({ name }) => name === x.name)!, step)));
      if (step === 4) policy.piece('three').moments!.grad.write(Float32Array.of(NaN), 1);
      await p.submit({ lr: o.lr, beta1: o.beta1, beta2: o.beta2, oneMinusBeta1: 1 - o.beta1, oneMinusBeta2: 1 - o.beta2, adamEpsilon: o.epsilon, weightDecay: 0.1 });
      states.push(await debugRead(stepTensor));
      for (const grad of policy.gradients) t.ok((await debugRead(grad)).every((v) => v === 0), 'cleared');
    }
    return { values: await Promise.all(specs.map(({ name }) => policy.read(name))), states };
  };
  const [apart, together] = [await run(false), await run(true)];
  t.same(together, apart);
  t.same(apart.states.map((s) => s[2]), [0, 0, 0, 0, 1, 0]);
  const twins = specs.map((p) => adamwTwin(start(p), { ...o, weightDecay: p.shape.length > 1 ? 0.1 : 0, maxNorm: Infinity }));
  for (let step = 0; step < 6; step++) {
    if (step === 4) continue;
    const grads = specs.map((p) => Float64Array.from(gradient(p, step)));
    const norm = Math.hypot(...grads.flatMap((g) => [...g]));
    const clip = Math.min(1, o.maxNorm / (norm + 1e-6));
    close(t, `norm ${step}`, together.states[step]!.slice(0, 2), [norm, clip], reduce(33));
    twins.forEach((x, i) => x.step(grads[i]!.map((g) => g * clip)));
  }
  twins.forEach((x, i) => close(t, specs[i]!.name, together.values[i]!, x.value, { atol: 2e-6, rtol: 1e-5, name: 'five steps' }));
});
