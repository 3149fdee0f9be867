import t from 'tap';
import { matrixTile, tileFor } from '../../src/gpu/matrices.js';
import type { FusedPath } from '../../src/gpu/paths.js';
import { matmulFlops, type DispatchSizes } from '../../src/gpu/program.js';
import type { Tensor } from '../../src/gpu/tensor.js';
import type { Document } from '../../src/model/batch/pack.js';
import { Engine } from '../../src/model/engine.js';
import { modelSpec } from '../../src/model/families/index.js';
import { parameterSpecs } from '../../src/model/families/spec.js';
import { Adapters, loraTargets } from '../../src/model/lora.js';
import { composeLoss } from '../../src/model/losses/modifiers/compose.js';
import { losses, LOSS_NAMES, type LossName } from '../../src/model/losses/index.js';
import { hasTerms, type LossDefinition } from '../../src/model/losses/types.js';
import { optimisers, type OptimiserName } from '../../src/model/optim/index.js';
import { Parameters } from '../../src/model/parameters.js';
import { loadParameters, makeEngine, settings } from '../helpers/engine.js';
import { nullGpu, testGpu } from '../helpers/gpu.js';
import { ShapesGpu } from '../helpers/shapes_gpu.js';
import { tinySpec, tinyWeights } from '../helpers/tiny_model.js';
import { PUBLISHED } from './published_configs.js';

const documents: Document[] = [{ id: 0, prompt: [1, 2, 3], branches: [[4, 5, 6, 7], [8, 9]] }, { id: 1, prompt: [2], branches: [[3, 3, 1], [9, 8, 7]] }];

t.test('a method that needs sums alone dispatches what DPO does; without a reference nothing more', async (t) => {
  const gpu = await testGpu();
  const spec = tinySpec();
  const policy = await loadParameters(gpu, spec, tinyWeights(spec, 1), true);
  const list = async (name: LossName): Promise<DispatchSizes[]> => {
    const loss: LossDefinition = losses[name];
    return (await makeEngine(gpu, policy, name, loss.needs.reference === 'none' ? { kind: 'none' } : { kind: 'cache', rounded: false }, { rows: 64, over: { params: Object.fromEntries(Object.entries(loss.params).map(([key, { default: value }]) => [key, value])) } })).dispatches(documents);
  };
  const dpo = await list('sigmoid');
  t.ok(dpo.length > 40 && dpo.some((d) => d.label.includes('document_loss')));
  // Which columns the token statistics fill is the one difference a missing reference makes.
  const plain = (l: DispatchSizes[]): Array<[string, number]> => l.map((d) => [d.label.replace(/token_stats\.\w+/, 'token_stats'), d.groups]);
  for (const name of LOSS_NAMES) {
    const loss: LossDefinition = losses[name];
    if (loss.needs.branches !== 2 || loss.needs.reference === 'hidden' || loss.needs.scored === 'all' || hasTerms(loss.needs)) continue;
    // Statistics over a group are a few kernels over one row a document; all else is as without.
    const whole = await list(name);
    const own = whole.filter((d) => !d.label.startsWith('group_')).map((d) => ({ ...d, label: d.label.replace('document_loss_group', 'document_loss') }));
    t.equal(whole.length - own.length, loss.group ? 1 + loss.group.passes.length : 0, `${name}: one gather and its passes`);
    t.same(loss.needs.reference === 'logps' ? own.map((d) => [d.label, d.groups]) : plain(own), loss.needs.reference === 'logps' ? dpo.map((d) => [d.label, d.groups]) : plain(dpo), name);
    t.equal(matmulFlops(own), matmulFlops(dpo));
  }
});

t.test('what token weights and WPO add is counted: one small kernel per tile and two per step, no matrix product, no logits', async (t) => {
  const gpu = await testGpu();
  const spec = tinySpec({ vocab_size: 90 });
  const policy = await loadParameters(gpu, spec, tinyWeights(spec, 1), true);
  const plain = { rpo_alpha: 0, f_divergence_type: 'reverse_kl', f_alpha_divergence_coef: 0.5, loss_type: 'sigmoid' } as const;
  const list = async (loss: LossDefinition): Promise<DispatchSizes[]> => {
    const engine = await makeEngine(gpu, policy, loss, { kind: 'cache', rounded: false }, { rows: 64, tile: 30 });
    t.ok(engine.head.tensors.every((x) => x.bytes < 64 * spec.V * 4), `${loss.name}: no buffer of all logits`);
    return engine.dispatches(documents);
  };
  const dpo = await list(losses.sigmoid);
  const [ld, wpo] = [await list(composeLoss({ ...plain, ld_alpha: 0.5 })), await list(composeLoss({ ...plain, use_weighting: true }))];
  t.equal(ld.length - dpo.length, 2, 'LD-DPO: token_terms and their sums');
  t.equal(wpo.length - dpo.length, 2 + 3, 'WPO: these, and Σ π² of each of three tiles');
  for (const own of [ld, wpo]) t.equal(matmulFlops(own), matmulFlops(dpo));
});

/**
 * Pairs by tokens of prompt, chosen, rejected: the mean of HH's test splits (helpful-base and harmless-base, every sixth pair, SmolLM2's tokenizer), a pair
 * with longer answers, and one with next to no prompt, whose scored rows are all there is: no pair costs more.
 */
const LENGTHS: Record<string, [number, number, number]> = { 'HH’s mean': [139, 50, 47], 'longer answers': [120, 75, 75], 'all rows scored': [1, 255, 255] };

interface Form { rounded?: boolean; lora?: boolean; gradientCheckpointing?: boolean }
/** Ways to train, and at which lengths 1.10 holds; docs/measurements.md has the figures of the others too. */
const FORMS: Array<[string, Form, string[]]> = [
  ['full, f32 cache', {}, Object.keys(LENGTHS)],
  ['full, layers made again, f32 cache', { gradientCheckpointing: true }, Object.keys(LENGTHS)],
  ['LoRA, f32 cache', { lora: true }, ['HH’s mean', 'longer answers']],
  ['full, f16 cache', { rounded: true }, ['HH’s mean']],
];

/** Operations per logit of what is no product, transcendental functions counted as ten: head_criterion has some 95, a soft cap some 20. */
const PER_LOGIT = 150;

/** Times that labels stand in a list, by kernel and layer. */
const times = (list: DispatchSizes[]): Map<string, number> => {
  const found = new Map<string, number>();
  for (const d of list) found.set(d.label, (found.get(d.label) ?? 0) + 1);
  return found;
};

/*
 * At the real shapes, recorded on a device that keeps shapes alone. Counted: every matrix product of forward and backward (2 M I O each, as the recorded
 * dispatches have them), and on ε-DPO's side also PER_LOGIT operations for every logit of what it adds. Not counted: attention, norms, activations, the
 * optimiser, which both steps have alike (held below: but for the head's, the two lists are one), so that the true ratio is below the one shown.
 */
for (const model of ['Qwen/Qwen2.5-0.5B-Instruct', 'google/gemma-2-2b-it']) {
  t.test(`an ε-DPO step from a cache costs at most 1.10 of a DPO step, and holds no logits: ${model} at its real shape`, async (t) => {
    const spec = modelSpec(PUBLISHED[model]!.config, model);
    const rows = 511;
    const ids = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
    const record = async (loss: LossName, { lora, rounded = false, gradientCheckpointing = false }: Form = {}): Promise<(lengths: [number, number, number]) => DispatchSizes[]> => {
      const gpu = new ShapesGpu(await testGpu());
      const policy = new Parameters(gpu, spec, !lora);
      const adapters = lora ? new Adapters(gpu, spec, { r: 16, alpha: 16, rslora: false, targets: loraTargets(spec, ['all-linear']) }, true) : undefined;
      const head = losses[loss].needs.reference === 'hidden' ? { head: lora ? policy : new Parameters(gpu, spec, false, 'reference', parameterSpecs(spec).filter((p) => p.table)) } : {};
      const engine = await makeEngine(gpu, adapters ? policy.with(adapters) : policy, loss, { kind: 'cache', rounded, ...head }, { rows, capacity: { rows, sequences: 8 }, gradientCheckpointing });
      t.ok(Math.max(...engine.head.tensors.map((x) => x.bytes)) < (rows - 1) * spec.V * 4, `${loss}: no buffer of all logits in the head`);
      t.ok(gpu.asked > 4 * PUBLISHED[model]!.parameters, 'the model is of its real size');
      t.ok(gpu.bytesNow < 500e6, `and takes ${(gpu.bytesNow / 1e6).toFixed(0)} MB here`);
      gpu.close();
      return ([prompt, chosen, rejected]) => engine.dispatches([{ id: 0, prompt: ids(prompt), branches: [ids(chosen), ids(rejected)] }]);
    };
    for (const [form, options, held] of FORMS) {
      const [plain, adaptive] = [await record('sigmoid', options), await record('epsilon_dpo', options)];
      for (const [name, lengths] of Object.entries(LENGTHS)) {
        const [dpo, edpo] = [plain(lengths), adaptive(lengths)];
        const logits = (lengths[1] + lengths[2]) * spec.V;
        // One more product with the reference's head over the scored rows (from an f16 cache one with the policy's too), and nothing else.
        const products = options.rounded ? 2 : 1;
        t.equal(matmulFlops(edpo) - matmulFlops(dpo), products * 2 * logits * spec.D, `${form}, ${name}`);
        const before = times(dpo);
        const changed = [...times(edpo)].filter(([label, n]) => n !== before.get(label)).map(([label]) => label);
        t.ok(changed.every((label) => /^(matmul\.nt|soft_cap|head_criterion|label_offset|round_f16|token_stats)/.test(label)), `only the head’s: ${changed.join(', ')}`);
        const ratio = (matmulFlops(edpo) + products * PER_LOGIT * logits) / matmulFlops(dpo);
        t.comment(`${model}, ${form}, ${name}: ε-DPO ${ratio.toFixed(4)} of DPO`);
        if (held.includes(name)) t.ok(ratio <= 1.1, `${form}, ${name}: ${ratio}`);
      }
    }
    const [dpo, tdpo] = [await record('sigmoid'), await record('tdpo1')];
    t.equal(matmulFlops(tdpo([120, 75, 75])) - matmulFlops(dpo([120, 75, 75])), 2 * 2 * 150 * spec.D * spec.V, 'a gradient through the KL makes the reference’s tiles again');
  });
}

t.test('what an optimiser step dispatches and clears at Qwen2.5-0.5B’s real shape: small tensors as one, eight gradients a norm', async (t) => {
  const real = await testGpu();
  const tile = matrixTile(real);
  const spec = modelSpec(PUBLISHED['Qwen/Qwen2.5-0.5B-Instruct']!.config, 'Qwen2.5-0.5B');
  const count = async (o: { lora?: boolean; mixed?: boolean; optimiser?: OptimiserName }, without: FusedPath[]): Promise<{ adamw: number; norm: number; clears: number; all: number }> => {
    const gpu = new ShapesGpu(real);
    gpu.without = new Set(without);
    if (o.mixed && typeof tile !== 'string') gpu.mixed = tile;
    const policy = new Parameters(gpu, spec, !o.lora);
    const adapted = o.lora ? policy.with(new Adapters(gpu, spec, { r: 16, alpha: 16, rslora: false, targets: loraTargets(spec, ['all-linear']) }, true)) : policy;
    const run = new Engine({ gpu, policy: adapted, loss: losses.sigmoid, settings: settings(), reference: { kind: 'cache', rounded: false }, capacity: { rows: 64, sequences: 8 }, training: true, optimiser: optimisers[o.optimiser ?? 'adamw_torch'] });
    const { list, clears } = run.optimiserDispatches();
    gpu.close();
    const times = (kernel: RegExp): number => list.filter(({ label }) => kernel.test(label)).length;
    return { adamw: times(/adamw/), norm: times(/grad_norm/), clears, all: list.length };
  };
  const both = async (o: { lora?: boolean; mixed?: boolean; optimiser?: OptimiserName }) => [await count(o, ['parameter_arena', 'grad_norm_grouped']), await count(o, [])];
  // 24 layers of 7 matrices and 5 vectors, the tied embedding and the last norm; step_state and beta_update besides.
  const apart = { adamw: 290, norm: 290, clears: 290, all: 582 };
  // Five matrices a layer and the embedding are 1 MiB and more: alone for AdamW, by eight for the norm. An arena of vectors, one of matrices.
  t.same(await both({}), [apart, { adamw: 121 + 2, norm: 16 + 2, clears: 121 + 2, all: 143 }], 'in full, f32');
  t.same(await both({ lora: true }), [{ adamw: 336, norm: 336, clears: 336, all: 674 }, { adamw: 1, norm: 1, clears: 1, all: 4 }], 'LoRA of rank 16 on every matrix: all in one arena');
  // Of 8-bit AdamW the same: the arenas' blocks by a table. Keys' and values' matrices B have 2,048 numbers, whose moments are f32.
  const optimiser = 'adamw_8bit';
  t.same(await both({ optimiser }), [apart, { adamw: 121 + 2, norm: 16 + 2, clears: 121 + 2, all: 143 }], '8-bit AdamW in full, f32');
  t.same(await both({ optimiser, lora: true }), [{ adamw: 336, norm: 336, clears: 336, all: 674 }, { adamw: 2, norm: 1, clears: 1, all: 5 }], '8-bit AdamW of LoRA');
  if (typeof tile === 'string') return t.comment(`no f16 matrices here: ${tile}`);
  // The copies are made again after it, all but the embedding's, whose moments are f32.
  t.same(await both({ optimiser, mixed: true }), [{ ...apart, all: 583 + 168 }, { adamw: 121 + 2, norm: 16 + 2, clears: 121 + 2, all: 144 + 168 }], '8-bit AdamW in full, mixed precision');
  // AdamW writes the f16 copies of keys' and values' weights with them; the scales of operands follow.
  t.same(await both({ mixed: true }), [{ ...apart, all: 583 }, { adamw: 121 + 48 + 1, norm: 16 + 2, clears: 121 + 2, all: 191 }], 'in full, mixed precision');
  // Adapters' copies are made after it: bounds and copies of all that lie in one buffer, and the scales between them.
  t.same(await both({ lora: true, mixed: true }), [{ adamw: 336, norm: 336, clears: 336, all: 675 + 2 * 336 + 1 }, { adamw: 1, norm: 1, clears: 1, all: 5 + 3 }], 'LoRA in mixed precision');
});

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
