import { readFileSync } from 'node:fs';
import t from 'tap';
import { gradNormSlots } from '../../src/gpu/ops/grad_norm.js';
import { HEAD_TILES, type HeadTiles } from '../../src/gpu/ops/kept_tiles.js';
import { splitRoomBytes } from '../../src/gpu/ops/split_sum.js';
import { loadConfig } from '../../src/config/load.js';
import { modelSpec } from '../../src/model/families/index.js';
import { parameterSpecs } from '../../src/model/families/spec.js';
import { losses, type LossName } from '../../src/model/losses/index.js';
import { memoryPlan, type MemoryPlan } from '../../src/model/memory.js';
import { trainingMemory } from '../../src/model/memory_advice.js';
import { OPTIMISER_NAMES, optimisers, type OptimiserName } from '../../src/model/optim/index.js';
import { optimiserBytes } from '../../src/model/optim/state.js';
import { loadParameters, makeEngine } from '../helpers/engine.js';
import { testGpu } from '../helpers/gpu.js';
import { tinySpec, tinyWeights } from '../helpers/tiny_model.js';

t.test('the memory plan is what is allocated, to 3 %, and beyond the tables it does not grow with the vocabulary', async (t) => {
  const gpu = await testGpu();
  const beyond: number[] = [];
  for (const vocab_size of [600, 6000]) {
    const spec = tinySpec({ vocab_size });
    const [before, room] = [gpu.bytesNow, splitRoomBytes(gpu)];
    const policy = await loadParameters(gpu, spec, tinyWeights(spec, 1), true);
    const reference = await loadParameters(gpu, spec, tinyWeights(spec, 2), false, 'reference');
    await makeEngine(gpu, policy, 'epsilon_dpo', { kind: 'live', parameters: reference }, { rows: 2048, capacity: { rows: 2048, sequences: 512 } });
    const got = gpu.bytesNow - before;
    const plan = memoryPlan({ spec, rows: 2048, keep: 'train', reference: 'live', rounded: false });
    t.ok(Math.abs(got / plan.total - 1) < 0.03, `planned ${plan.total}, allocated ${got}`);
    const tables = 2 * vocab_size * spec.D * 4;
    // Each piece of a split table brings its own slots of the gradient norm.
    // The room for sums of ranges (tiled products alone) is the device's: the second engine finds it there.
    beyond.push(got - (splitRoomBytes(gpu) - room) - 4 * tables - tables - gradNormSlots(policy.pieces.map((piece) => piece.value)) * 4);
  }
  t.ok(Math.abs(beyond[1]! / beyond[0]! - 1) < 0.001, `beyond the tables ${beyond.join(' and ')} bytes`);
});

t.test('kept tiles of the head are planned as they are allocated, in every way; where the vocabulary is one tile there is nothing to keep', async (t) => {
  const gpu = await testGpu();
  for (const vocab_size of [500, 6001]) for (const headTiles of HEAD_TILES) {
    const spec = tinySpec({ vocab_size });
    const before = gpu.bytesNow;
    const policy = await loadParameters(gpu, spec, tinyWeights(spec, 1), true);
    const reference = await loadParameters(gpu, spec, tinyWeights(spec, 2), false, 'reference');
    const engine = await makeEngine(gpu, policy, 'tdpo2', { kind: 'live', parameters: reference }, { rows: 1024, capacity: { rows: 1024, sequences: 256 }, headTiles });
    const kept = engine.head.tensors.filter((x) => /kept/.test(x.label)).reduce((n, x) => n + x.bytes, 0);
    const plan = memoryPlan({ spec, rows: 1024, keep: 'train', reference: 'live', rounded: false, headTiles });
    t.ok(Math.abs((gpu.bytesNow - before) / plan.total - 1) < 0.03, `${vocab_size} ${headTiles}: planned ${plan.total}, allocated ${gpu.bytesNow - before}`);
    const planned = plan.parts['head tiles kept'] ?? 0;
    // Where the table is in pieces, each ends in a tile of its own, whose rows are whole vec4s.
    if (kept === 0) t.equal(planned, 0);
    else t.ok(vocab_size > 512 && kept >= planned && kept < 1.03 * planned, `${vocab_size} ${headTiles}: planned ${planned}, kept ${kept}`);
  }
});

t.test('head_tiles: auto keeps what fits gpu_memory in mixed precision, from keys and model alone; else as asked', async (t) => {
  const spec = tinySpec({ vocab_size: 6000 });
  const plan = (loss: LossName, over: Record<string, string>): MemoryPlan => {
    const { config } = loadConfig({ file: undefined, flags: { model_name_or_path: 'x', loss_type: loss, token_budget: '32768', ...over }, env: {}, command: 'plan' });
    return trainingMemory(spec, losses[loss], config, undefined);
  };
  for (const [loss, ways] of [['sigmoid', ['kept']], ['tdpo2', ['kept', 'kept_both']]] as Array<[LossName, HeadTiles[]]>) {
    const mixed = { dtype: 'mixed_f16', ref_mode: 'live' };
    const none = plan(loss, mixed);
    t.same([none.headTiles, none.parts['head tiles kept']], ['recomputed', undefined], 'what a card has is not known');
    let last: MemoryPlan = none;
    for (const way of ways) {
      const asked = plan(loss, { ...mixed, head_tiles: way });
      // Two to a word, and of each of twelve tiles its top by a whole vec2.
      const bytes = (way === 'kept_both' ? 2 : 1) * 32768 * 4 * (6000 / 2 + 12 * 2);
      t.same([asked.headTiles, asked.total, asked.parts['head tiles kept']], [way, none.total + bytes, bytes]);
      const gb = (bytes: number): string => String(bytes / 1e9);
      t.equal(plan(loss, { ...mixed, gpu_memory: gb(asked.total) }).headTiles, way, 'it fits to the byte');
      t.equal(plan(loss, { ...mixed, gpu_memory: gb(asked.total - 1000) }).headTiles, last.headTiles, 'a kilobyte less, and it does not');
      t.equal(plan(loss, { ...mixed, gpu_memory: gb(asked.total), head_tiles: 'recomputed' }).headTiles, 'recomputed');
      last = asked;
    }
    t.equal(plan(loss, { ref_mode: 'live', gpu_memory: '100' }).headTiles, 'recomputed', 'float32 rounds no gradient unasked');
    t.equal(plan(loss, { ...mixed, gpu_memory: '100', token_budget: '64' }).headTiles, 'recomputed', 'a vocabulary of one tile stands');
  }
  t.equal(plan('sigmoid', { head_tiles: 'kept_both' }).headTiles, 'kept', 'no gradient through KL: nothing of the reference is kept');
});

t.test('the plan of every optimiser is what it allocates', async (t) => {
  const gpu = await testGpu();
  const spec = tinySpec({ vocab_size: 600, hidden_size: 64, intermediate_size: 80, num_attention_heads: 8, head_dim: 8 });
  let bare = 0;
  for (const [name, momentum] of [['sgd', 0], ['sgd', 0.9], ...OPTIMISER_NAMES.filter((n) => n !== 'sgd').map((n) => [n, 0])] as Array<[OptimiserName, number]>) {
    const policy = await loadParameters(gpu, spec, tinyWeights(spec, 1), true);
    const before = gpu.bytesNow;
    const { optimiserState } = await makeEngine(gpu, policy, 'sigmoid', { kind: 'cache', rounded: false }, { rows: 64, optimiser: optimisers[name], optimiserSettings: { momentum } });
    bare ||= gpu.bytesNow - before;
    const kept = [...optimiserState!.kept()].filter((x) => !x.name.startsWith('value.')).reduce((n, { tensor }) => n + tensor.bytes, 0);
    const [planned, got] = [optimiserBytes(optimisers[name], parameterSpecs(spec), spec, { momentum }, gpu.limits.tableSplitBytes), gpu.bytesNow - before - bare];
    // Each buffer is rounded up to 16 bytes.
    t.ok(got - planned >= 0 && got - planned < 64, `${name} ${momentum}: planned ${planned}, allocated ${got}, ${kept} of them state`);
  }
});

t.test('the plan is what is allocated for every family', async (t) => {
  const gpu = await testGpu();
  const { families } = JSON.parse(readFileSync('test/goldens/families.json', 'utf8')) as { families: Record<string, { config: Record<string, unknown> }> };
  for (const [name, { config }] of Object.entries(families)) {
    // LongRoPE has a factor for each of the 16 pairs, and its second tables count where documents can be long.
    const factors = new Array<number>(16).fill(2);
    const rope = name === 'phi3' ? { rope_parameters: { ...(config['rope_parameters'] as object), short_factor: factors, long_factor: factors } } : {};
    const spec = modelSpec({ ...config, ...rope, hidden_size: 96, intermediate_size: 200, head_dim: 32, n_embd: 96, n_inner: 200, vocab_size: 500 }, name);
    for (const gradientCheckpointing of [false, true]) {
      const before = gpu.bytesNow;
      const policy = await loadParameters(gpu, spec, Object.fromEntries(parameterSpecs(spec).map((p) => [p.name, new Float32Array(p.shape.reduce((a, b) => a * b, 1))])), true);
      await makeEngine(gpu, policy, 'sigmoid', { kind: 'cache', rounded: false }, { rows: 1024, capacity: { rows: 1024, sequences: 256 }, gradientCheckpointing });
      const got = gpu.bytesNow - before;
      const plan = memoryPlan({ spec, rows: 1024, keep: gradientCheckpointing ? 'checkpoint' : 'train', reference: 'logps', rounded: false });
      t.ok(Math.abs(got / plan.total - 1) < 0.03, `${name}${gradientCheckpointing ? ', checkpointing' : ''}: planned ${plan.total}, allocated ${got}`);
    }
  }
});
