import t from 'tap';
import { matrixTile } from '../../src/gpu/matrices.js';
import type { FusedPath } from '../../src/gpu/paths.js';
import { matmulFlops, type DispatchSizes } from '../../src/gpu/program.js';
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
import { testGpu } from '../helpers/gpu.js';
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
