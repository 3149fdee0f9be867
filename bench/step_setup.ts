import type { Gpu } from '../src/gpu/device.js';
import { modelSpec } from '../src/model/families/index.js';
import { parameterSpecs, type ModelSpec } from '../src/model/families/spec.js';
import { Parameters } from '../src/model/parameters.js';
import { keyedUniform } from '../src/model/data/order.js';
import type { Document } from '../src/model/batch/pack.js';

export const OPTIMISE = { lr: 1e-5, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, maxGradNorm: 1, weightDecay: 0 };

/** An invented model: 8 heads in 4 groups, SwiGLU of 8/3 D, tied head. */
export const inventedSpec = ({ hidden: D, layers: L, vocab: V }: { hidden: number; layers: number; vocab: number }): ModelSpec => modelSpec({
  model_type: 'llama', hidden_size: D, intermediate_size: Math.round((D * 8) / 3 / 4) * 4, num_hidden_layers: L, num_attention_heads: 8, num_key_value_heads: 4,
  head_dim: Math.max(8, D / 8), vocab_size: V, tie_word_embeddings: true,
}, 'bench');

/** Pairs of `length` token rows: a third each of prompt, chosen and rejected. */
export function inventedPairs(pairs: number, length: number, vocab: number): Document[] {
  const third = Math.floor(length / 3);
  const ids = (seed: number): number[] => Array.from({ length: third }, (_, i) => Math.floor(keyedUniform(seed, i) * vocab));
  return Array.from({ length: pairs }, (_, i) => ({ id: i, prompt: ids(i * 3), branches: [ids(i * 3 + 1), ids(i * 3 + 2)] }));
}

/** `inventedSpec` with seeded random weights. */
export async function randomModel(gpu: Gpu, sizes: { hidden: number; layers: number; vocab: number }, seed: number, trainable: boolean): Promise<Parameters> {
  const spec = inventedSpec(sizes);
  const order = parameterSpecs(spec).map((p) => p.name);
  const parameters = new Parameters(gpu, spec, trainable, `bench${seed}`);
  await parameters.load((p, first, rows) => {
    const width = p.shape[1] ?? 1;
    return Float32Array.from({ length: rows * width }, (_, i) => (p.shape.length === 1 ? 1 : (keyedUniform(seed, order.indexOf(p.name), first * width + i) - 0.5) / Math.sqrt(width)));
  });
  return parameters;
}
