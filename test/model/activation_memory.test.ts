import { readFileSync } from 'node:fs';
import t from 'tap';
import { halfRows, packRows, unpackRows } from '../../src/gpu/ops/pack_rows.js';
import { debugReadU32 } from '../../src/gpu/readback.js';
import { largestBudget, rowBounds } from '../../src/model/auto_budget.js';
import type { EngineOptions } from '../../src/model/engine_types.js';
import { decode16, encode16 } from '../../src/model/files/float_formats.js';
import { modelSpec, type ModelSpec } from '../../src/model/families/index.js';
import { memoryPlan } from '../../src/model/memory.js';
import { close, exact } from '../helpers/close.js';
import { loadParameters, makeEngine } from '../helpers/engine.js';
import { output, read, runOnce, testGpu, upload } from '../helpers/gpu.js';
import { normals, rng } from '../helpers/rng.js';
import { tinySpec, tinyWeights } from '../helpers/tiny_model.js';

t.test('rows packed as f16 and bf16: the nearest values, f16’s beyond its own range too', async (t) => {
  const gpu = await testGpu();
  const [N, I] = [5, 13];
  const x = normals(3, N * I).map((v, i) => Math.fround(v * [1, 1e-9, 1e9, 0, 40000][Math.floor(i / I)]!));
  for (const format of ['float16', 'bfloat16'] as const) {
    const rows = halfRows(gpu, 'rows', N, I, format);
    const back = output(gpu, 'back', [N, I]);
    await runOnce(gpu, (p) => {
      const from = upload(gpu, 'x', [N, I], x);
      packRows(p, from, rows);
      unpackRows(p, rows, back);
    });
    const want = Float32Array.from(x, (v, i) => {
      if (format === 'bfloat16') return decode16(encode16(Float32Array.of(v), 'BF16'), 'BF16')[0]!;
      const top = Math.max(...x.subarray(Math.floor(i / I) * I, Math.floor(i / I) * I + I).map(Math.abs));
      const power = 2 ** (14 - (top === 0 ? 0 : Math.floor(Math.log2(top))));
      return decode16(encode16(Float32Array.of(v * power), 'F16'), 'F16')[0]! / power;
    });
    close(t, format, await read(back), want, exact, [N, I]);
    t.equal((await debugReadU32(rows.y)).length, N * 7, 'two to a word');
  }
});

/** Loss table and every gradient of a DPO step on two documents. */
async function gradients(spec: ModelSpec, options: Partial<EngineOptions>): Promise<{ table: number[]; grads: Map<string, Float32Array> }> {
  const gpu = await testGpu();
  const policy = await loadParameters(gpu, spec, tinyWeights(spec, 1), true);
  const engine = await makeEngine(gpu, policy, 'sigmoid', { kind: 'cache', rounded: false }, { rows: 64, ...options });
  const r = rng(4);
  const ids = (n: number): number[] => Array.from({ length: n }, () => r.int(spec.V));
  const documents = [0, 1].map((id) => ({ id, prompt: ids(6 + id), branches: [ids(5), ids(8)] }));
  const { table } = await engine.microBatch(documents, { logps: new Float32Array(26).fill(-3) }, 0.5, true)();
  const grads = new Map<string, Float32Array>();
  for (const { name } of policy.list) grads.set(name, await policy.read(name, 'grad'));
  return { table: [...table], grads };
}
const distance = (a: Float32Array, b: Float32Array): number => {
  const norm = (x: Float32Array): number => Math.sqrt(x.reduce((s, v) => s + v * v, 0));
  return norm(a.map((v, i) => v - b[i]!)) / norm(a);
};

t.test('checkpointing of layers or MLPs changes no bit; packed activations change gradients by what is said, and nothing else', async (t) => {
  const { families } = JSON.parse(readFileSync('test/goldens/families.json', 'utf8')) as { families: Record<string, { config: Record<string, unknown> }> };
  // Plain, post-norms and soft-caps, head norms, a parallel block with biases.
  for (const name of ['llama', 'gemma2', 'qwen3', 'gpt-neox']) {
    const spec = modelSpec(families[name]!.config, name);
    const plain = await gradients(spec, {});
    for (const gradientCheckpointing of [true, 'mlp'] as const) {
      const again = await gradients(spec, { gradientCheckpointing });
      t.same(again.table, plain.table);
      t.ok([...plain.grads].every(([k, g]) => g.every((v, i) => Object.is(v, again.grads.get(k)![i]))), `${name}: gradients with checkpointing ${gradientCheckpointing}, bit for bit`);
    }
    for (const [activations, gradientCheckpointing, most] of [['float16', false, 2e-3], ['float16', 'mlp', 2e-3], ['bfloat16', false, 1.6e-2]] as const) {
      const packed = await gradients(spec, { activations, gradientCheckpointing });
      t.same(packed.table, plain.table, `${name}, ${activations}: losses and log-probs to the bit`);
      const all = (x: Map<string, Float32Array>): Float32Array => Float32Array.from([...x.values()].flatMap((g) => [...g]));
      const whole = distance(all(plain.grads), all(packed.grads));
      t.ok(whole > 0 && whole < most, `${name}, ${activations}${gradientCheckpointing ? ' with mlp' : ''}: the gradient is off by ${whole.toExponential(1)} of its norm`);
      // A key's bias has next to no gradient (softmax does not see what all keys share), so its own share of error is larger.
      const worst = Math.max(...[...plain.grads].filter(([, g]) => g.some((v) => v !== 0)).map(([k, g]) => distance(g, packed.grads.get(k)!)));
      t.ok(worst < 10 * most, `and no tensor's by more than ${worst.toExponential(1)}`);
    }
  }
});

t.test('the plan of every mode of activations is what is allocated, to 3 %', async (t) => {
  const gpu = await testGpu();
  const spec = tinySpec({ vocab_size: 300, hidden_size: 64, intermediate_size: 172, num_hidden_layers: 4, num_attention_heads: 8, num_key_value_heads: 4, head_dim: 8 });
  const totals: number[] = [];
  for (const [gradientCheckpointing, activations] of [[false, 'float32'], [false, 'float16'], [false, 'bfloat16'], ['mlp', 'float32'], ['mlp', 'float16'], [true, 'float32']] as const) {
    const before = gpu.bytesNow;
    const policy = await loadParameters(gpu, spec, tinyWeights(spec, 1), true);
    await makeEngine(gpu, policy, 'sigmoid', { kind: 'cache', rounded: false }, { rows: 1024, capacity: { rows: 1024, sequences: 256 }, gradientCheckpointing, activations });
    const got = gpu.bytesNow - before;
    const { total } = memoryPlan({ spec, rows: 1024, keep: gradientCheckpointing === 'mlp' ? 'mlp' : gradientCheckpointing ? 'checkpoint' : 'train', format: activations, reference: 'logps', rounded: false });
    t.ok(Math.abs(got / total - 1) < 0.03, `${gradientCheckpointing} ${activations}: planned ${total}, allocated ${got}`);
    totals.push(total);
  }
  const [plain, f16, bf16, mlp, mlp16, layer] = totals as [number, number, number, number, number, number];
  t.ok(f16 < plain && bf16 < f16 && mlp < plain && mlp16 < mlp && layer < mlp16, totals.join(', '));
});

t.test('the automatic budget is the largest whose plan fits, holds the longest document, and never exceeds what a step or a binding can use', async (t) => {
  const total = (rows: number): number => 1e6 + rows * 1e3;
  const wide = { bindingBytes: 2 ** 31, widest: 100 };
  const bounds = { longest: 300, step: 5000 };
  t.equal(largestBudget(total, bounds, 3e6, wide), 1984, '64 more would not fit');
  t.ok(total(1984) <= 3e6 && total(1984 + 64) > 3e6);
  t.equal(largestBudget(total, bounds, 1e9, wide), 5056, 'a step has no more rows');
  t.equal(largestBudget(total, bounds, 1e9, { bindingBytes: 4e5, widest: 100 }), 960, 'a buffer of 1,000 rows');
  t.equal(largestBudget(total, bounds, 1e6, wide), 300, 'the longest document, which the plan then refuses');
  const rows = [7, 90, 30, 80];
  t.same(rowBounds({ count: 4, rows: (i) => rows[i]!, tokens: () => 0, chosenTokens: () => 0, id: (i) => i, document: () => ({ id: 0, prompt: [], branches: [] }) }, 2), { longest: 90, step: 170 });
});
