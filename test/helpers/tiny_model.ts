import { modelSpec, type ModelSpec } from '../../src/model/families/index.js';
import { parameterSpecs } from '../../src/model/families/spec.js';
import { normals } from './rng.js';

/** A small Llama-type configuration with awkward sizes. */
export const tinyConfig = (over: Record<string, unknown> = {}): Record<string, unknown> => ({
  model_type: 'llama', hidden_size: 20, intermediate_size: 27, num_hidden_layers: 2, num_attention_heads: 6,
  num_key_value_heads: 2, head_dim: 6, vocab_size: 37, max_position_embeddings: 64, rms_norm_eps: 1e-5, rope_theta: 10000,
  tie_word_embeddings: false, ...over,
});

export const tinySpec = (over: Record<string, unknown> = {}): ModelSpec => modelSpec(tinyConfig(over), 'tiny config');

/** Seeded weights, f32-representable; gains near 1. */
export function tinyWeights(spec: ModelSpec, seed: number): Record<string, Float32Array> {
  const weights: Record<string, Float32Array> = {};
  parameterSpecs(spec).forEach((p, i) => {
    const n = p.shape.reduce((a, b) => a * b, 1);
    const raw = normals(seed * 1000 + i, n, p.shape.length === 1 ? 0.1 : p.table ? 0.5 : 1.2 / Math.sqrt(p.shape[1]!));
    weights[p.name] = p.shape.length === 1 ? raw.map((v) => Math.fround(1 + v)) : raw;
  });
  return weights;
}
