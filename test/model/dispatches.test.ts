import t from 'tap';
import { matmulFlops, type DispatchSizes } from '../../src/gpu/program.js';
import type { Document } from '../../src/model/batch/pack.js';
import type { ReferencePlan } from '../../src/model/engine_types.js';
import { composeLoss } from '../../src/model/losses/modifiers/compose.js';
import { losses, LOSS_NAMES, type LossName } from '../../src/model/losses/index.js';
import { hasTerms, type LossDefinition } from '../../src/model/losses/types.js';
import { loadParameters, makeEngine } from '../helpers/engine.js';
import { testGpu } from '../helpers/gpu.js';
import { tinySpec, tinyWeights } from '../helpers/tiny_model.js';

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

/** Models of the same proportions as the real ones, all widths divided by `by`: the shares of layers and head in the arithmetic are theirs. */
const SCALED: Array<[string, Record<string, unknown>]> = [
  ['Qwen2.5-0.5B, widths / 14', { hidden_size: 64, intermediate_size: 4864 / 14, num_hidden_layers: 24, num_attention_heads: 14, num_key_value_heads: 2, head_dim: 64 / 14, vocab_size: 151936 / 14 }],
  ['gemma-2-2b, widths / 36', { hidden_size: 64, intermediate_size: 9216 / 36, num_hidden_layers: 26, num_attention_heads: 8, num_key_value_heads: 4, head_dim: 256 / 36, vocab_size: 256000 / 36 }],
];

t.test('an ε-DPO step from a cache costs at most 1.10 of a DPO step, and holds no logits', async (t) => {
  const gpu = await testGpu();
  for (const [name, raw] of SCALED) {
    const even = (x: unknown): number => Math.max(2, 2 * Math.round(Number(x) / 2));
    const config = Object.fromEntries(Object.entries(raw).map(([k, v]) => [k, /heads|layers/.test(k) ? v : even(v)]));
    const spec = tinySpec({ ...config, tie_word_embeddings: true });
    const policy = await loadParameters(gpu, spec, tinyWeights(spec, 1), true);
    // HH's proportions: a prompt of 120 tokens and two responses of 75.
    const ids = (n: number): number[] => Array.from({ length: n }, (_, i) => i % spec.V);
    const pair: Document[] = [{ id: 0, prompt: ids(120), branches: [ids(75), ids(75)] }];
    const cost = async (loss: LossName, reference: ReferencePlan): Promise<number> => {
      const before = gpu.bytesNow;
      const engine = await makeEngine(gpu, policy, loss, reference, { rows: 270, capacity: { rows: 270, sequences: 8 } });
      const logits = 150 * spec.V * 4;
      t.ok(Math.max(...engine.head.tensors.map((x) => x.bytes)) < logits, `${name}, ${loss}: no buffer of all logits in the head`);
      t.comment(`${name}, ${loss}: ${((gpu.bytesNow - before) / 1e6).toFixed(1)} MB`);
      return matmulFlops(engine.dispatches(pair));
    };
    const head = await loadParameters(gpu, spec, tinyWeights(spec, 2), false, 'reference');
    const [dpo, edpo, tdpo] = [await cost('sigmoid', { kind: 'cache', rounded: false }), await cost('epsilon_dpo', { kind: 'cache', head, rounded: false }), await cost('tdpo1', { kind: 'cache', head, rounded: false })];
    // One more head product over the scored rows, and nothing else.
    t.equal(edpo - dpo, 2 * 150 * spec.D * spec.V, name);
    t.ok(edpo / dpo <= 1.1, `${name}: ε-DPO ${(edpo / dpo).toFixed(4)} of DPO`);
    t.comment(`${name}: ε-DPO ${(edpo / dpo).toFixed(4)}, TDPO ${(tdpo / dpo).toFixed(4)} of DPO's matrix products`);
    t.equal(tdpo - dpo, 2 * 2 * 150 * spec.D * spec.V, 'a gradient through the KL makes the reference’s tiles again');
    policy.destroy();
    head.destroy();
  }
});
