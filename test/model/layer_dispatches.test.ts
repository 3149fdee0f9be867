import t from 'tap';
import { tileFor } from '../../src/gpu/matrices.js';
import type { FusedPath } from '../../src/gpu/paths.js';
import { matmulFlops } from '../../src/gpu/program.js';
import type { Tensor } from '../../src/gpu/tensor.js';
import { Engine } from '../../src/model/engine.js';
import { modelSpec } from '../../src/model/families/index.js';
import { Adapters, loraTargets } from '../../src/model/lora.js';
import { losses } from '../../src/model/losses/index.js';
import { Parameters } from '../../src/model/parameters.js';
import { settings } from '../helpers/engine.js';
import { nullGpu } from '../helpers/gpu.js';
import { ShapesGpu } from '../helpers/shapes_gpu.js';
import { PUBLISHED } from './published_configs.js';

/** Of layer 1, in f16 matrices of a GPU: its dispatches, forward and backward, and the bytes these move if each touches what is bound to it once. */
async function mixedLayer(model: string, without: FusedPath[], rank = 0): Promise<{ labels: string[]; bytes: number; flops: number; kept: number }> {
  const owner = await nullGpu();
  const gpu = new ShapesGpu(owner);
  // The null backend binds 8 buffers, attention's gradients want 10; nothing of it is run.
  owner.device.pushErrorScope('validation');
  try {
    gpu.mixed = tileFor({ MM: 16, MN: 16, MK: 16, SG: 32 }, gpu.limits);
    gpu.limits.storageBuffers = 16;
    for (const path of without) gpu.without.add(path);
    const spec = modelSpec({ ...PUBLISHED[model]!.config, num_hidden_layers: 3 }, model);
    const rows = 472;
    const base = new Parameters(gpu, spec, rank === 0);
    const policy = rank === 0 ? base : base.with(new Adapters(gpu, spec, { r: rank, alpha: rank, rslora: false, targets: loraTargets(spec, ['all-linear']) }, true));
    const engine = new Engine({ gpu, policy, loss: losses.sigmoid, settings: settings(), reference: { kind: 'cache', rounded: false }, capacity: { rows, sequences: 8 }, training: true });
    const ids = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
    const list = engine.dispatches([0, 1].map((id) => ({ id, prompt: ids(139), branches: [ids(50), ids(47)] }))).filter((d) => d.label.startsWith('L01 '));
    const { q, k, v, operands } = engine.acts.layer(1);
    return { labels: list.map((d) => d.label.slice(4)), bytes: list.reduce((n, d) => n + d.bytes, 0), flops: matmulFlops(list), kept: Object.values(operands ?? { q, k, v }).reduce((n: number, t: Tensor) => n + t.bytes, 0) };
  } finally {
    await owner.device.popErrorScope();
    gpu.close();
    owner.close();
  }
}

t.test('what biases in products and heads made as operands spare a layer of Qwen2.5-0.5B at its real shape, and one of Gemma 2, whose heads no tile holds', async (t) => {
  const off: FusedPath[] = ['product_bias', 'heads_kept', 'product_heads', 'product_qkv'];
  const [plain, fused] = [await mixedLayer('Qwen/Qwen2.5-0.5B-Instruct', off), await mixedLayer('Qwen/Qwen2.5-0.5B-Instruct', [])];
  t.comment(`Qwen2.5-0.5B: ${plain.labels.length} dispatches and ${(plain.bytes / 1e6).toFixed(1)} MB, now ${fused.labels.length} and ${(fused.bytes / 1e6).toFixed(1)} MB; kept of q, k, v ${plain.kept} and ${fused.kept} bytes`);
  const count = (labels: string[], what: RegExp): number => labels.filter((l) => what.test(l)).length;
  // Two turns with a bias and a bias; three packed in either direction.
  t.same([plain, fused].map((x) => [/^rope.*_bias$/, /^bias\.fwd/, /^pack_f16(_vec4)?\.rows/, /nt_(rows|qkv)/].map((what) => count(x.labels, what))), [[2, 1, 6, 0], [0, 0, 0, 1]]);
  t.equal(plain.labels.length - fused.labels.length, 11);
  // What is kept has 64 rows more, and all of them up to a tile's edge: half the bytes but for those.
  t.equal(fused.kept, (plain.kept / 2) * (640 / 472));
  // The bytes of q, k and v in f32: written by the product, read and written where they turn or take a bias, read twice and written twice in f16 to be packed; now written once in f16.
  const [wide, operands] = [472 * (896 + 2 * 128) * 4, 640 * (896 + 2 * 128) * 2];
  t.ok(plain.bytes - fused.bytes > 5 * wide + operands, `${plain.bytes - fused.bytes} bytes less`);
  const { labels } = await mixedLayer('google/gemma-2-2b-it', []);
  t.same([/^rope/, /^pack_f16(_vec4)?\.rows/, /nt_rows/].map((what) => count(labels, what)), [4, 2, 1], 'its queries and keys turn in passes of their own, and are packed once');
});

t.test('the gradients of what queries, keys and values read, and gate and up, are one product each: three dispatches and six passes over them less, the same multiply-adds', async (t) => {
  for (const [model, D] of [['Qwen/Qwen2.5-0.5B-Instruct', 896], ['google/gemma-2-2b-it', 2304]] as const) {
    const [apart, summed] = [await mixedLayer(model, ['product_sums']), await mixedLayer(model, [])];
    const products = ({ labels }: { labels: string[] }): number[] => [/matrix_nn$/, /matrix_nn_acc$/, /matrix_nn_sum2$/, /matrix_nn_sum3$/].map((what) => labels.filter((l) => what.test(l)).length);
    // O's gradient of its input stays apart; down's leaves its product as those of gate and up.
    t.same([apart, summed].map(products), [[3, 3, 0, 0], [1, 0, 1, 1]], model);
    t.equal(apart.labels.length - summed.labels.length, 3);
    t.equal(summed.flops, apart.flops);
    // Written twice and three times read and written; now written twice. Besides, the few scales that every product binds.
    const spared = apart.bytes - summed.bytes - 6 * 472 * D * 4;
    t.ok(spared >= 0 && spared < 1e4, `${apart.bytes - summed.bytes} bytes less`);
  }
});

t.test('what SwiGLU where its products leave spares the same layers', async (t) => {
  for (const model of ['Qwen/Qwen2.5-0.5B-Instruct', 'google/gemma-2-2b-it']) {
    const [plain, fused] = [await mixedLayer(model, ['swiglu_product']), await mixedLayer(model, [])];
    t.comment(`${model}: ${plain.labels.length} dispatches and ${(plain.bytes / 1e6).toFixed(1)} MB, now ${fused.labels.length} and ${(fused.bytes / 1e6).toFixed(1)} MB`);
    // Forward gate, up and SwiGLU are one; backward SwiGLU, the product with down and SwiGLU's backward pass are.
    t.equal(plain.labels.length - fused.labels.length, 4);
    const F = PUBLISHED[model]!.config['intermediate_size'] as number;
    const wide = 472 * F * 4;
    // Gate and up are read by no pass of their own, forward and backward; h's gradient is neither written nor read.
    t.ok(plain.bytes - fused.bytes > 2 * 2 * wide + 2 * wide, `${plain.bytes - fused.bytes} bytes less, ${wide} a tensor [472, F]`);
  }
});

t.test('LoRA in matrices: no product of the same layers is in f32, and norms and SwiGLU write operands alone beside adapters too', async (t) => {
  for (const [model, rank] of [['Qwen/Qwen2.5-0.5B-Instruct', 16], ['google/gemma-2-2b-it', 8], ['meta-llama/Meta-Llama-3-8B-Instruct', 64]] as const) {
    const [plain, packed, fused] = [await mixedLayer(model, ['lora_matrices'], rank), await mixedLayer(model, ['norm_operand', 'swiglu_operand'], rank), await mixedLayer(model, [], rank)];
    t.comment(`${model}, rank ${rank}: ${plain.labels.length} dispatches and ${(plain.bytes / 1e6).toFixed(1)} MB, now ${fused.labels.length} and ${(fused.bytes / 1e6).toFixed(1)} MB`);
    const inF32 = ({ labels }: { labels: string[] }): number => labels.filter((l) => /^matmul\.(?!matrix)/.test(l)).length;
    t.same([plain, packed, fused].map(inF32), [7 * 7, 0, 0]);
    t.equal(fused.flops, plain.flops);
    // Of h four times and the MLP's product twice: in either pass one is no longer packed by a kernel of its own; nor are the gradients of gate and up.
    const packs = ({ labels }: { labels: string[] }): number => labels.filter((l) => /^pack_f16/.test(l)).length;
    t.ok(packs(packed) - packs(fused) >= 4 + 2 + 2, `${packs(packed)} packed, now ${packs(fused)}`);
    t.ok(fused.bytes < packed.bytes && packed.bytes < plain.bytes);
  }
});

t.test('what the residual’s gradient written as an operand by the norms that add to it spares a layer: two packings, each a dispatch that reads it in f32', async (t) => {
  const model = 'Qwen/Qwen2.5-0.5B-Instruct';
  const [apart, fused] = [await mixedLayer(model, ['residual_operand']), await mixedLayer(model, [])];
  t.comment(`${model}: ${apart.labels.length} dispatches and ${(apart.bytes / 1e6).toFixed(1)} MB, now ${fused.labels.length} and ${(fused.bytes / 1e6).toFixed(1)} MB`);
  t.same([apart, fused].map(({ labels }) => labels.filter((l) => /^rms_norm\.bwd_f16_add/.test(l)).length), [0, 2]);
  t.equal(apart.labels.length - fused.labels.length, 2);
  // The operands are written as before; besides, the few scales that packing binds are bound by the norms.
  const spared = apart.bytes - fused.bytes - 2 * 472 * 896 * 4;
  t.ok(Math.abs(spared) < 1e4, `${apart.bytes - fused.bytes} bytes less`);
  // A post-norm's backward pass stands between Gemma's sums and its products.
  const gemma = await mixedLayer('google/gemma-2-2b-it', []);
  t.notOk(gemma.labels.some((l) => /^rms_norm\.bwd_f16_add/.test(l)));
});
