import { z } from 'zod';
import { activation, decoder, decoderShape, layerTypes, noBias } from './decoder.js';
import type { ModelSpec } from './spec.js';

const schema = z.object({
  ...decoderShape,
  hidden_act: activation(['silu'], 'silu'),
  use_sliding_window: z.boolean().default(false),
  sliding_window: z.int().positive().nullish(),
  max_window_layers: z.int().min(0).default(28),
  layer_types: layerTypes,
  attention_bias: noBias('attention biases').optional(),
  tie_word_embeddings: z.boolean().default(false),
});
type Config = z.output<typeof schema>;

/** With use_sliding_window the layers from max_window_layers on slide. */
const windows = (c: Config) => (L: number): number[] => Array.from({ length: L }, (_, l) => {
  const slides = c.layer_types ? c.layer_types[l] === 'sliding_attention' : c.use_sliding_window && l >= c.max_window_layers;
  return slides ? (c.sliding_window ?? 0) : 0;
});

/** Qwen 2 and 2.5 (arXiv 2407.10671): Llama with biases of q, k and v. */
export function qwen2(config: Record<string, unknown>): ModelSpec {
  const c = schema.parse(config);
  return decoder(c, {
    modelType: 'qwen2', tied: c.tie_word_embeddings, windows: windows(c),
    layer: (at) => ({ qBias: `${at}.self_attn.q_proj.bias`, kBias: `${at}.self_attn.k_proj.bias`, vBias: `${at}.self_attn.v_proj.bias` }),
  });
}

/** Qwen 3 (arXiv 2505.09388): no biases, an RMSNorm over each query and key head before RoPE. */
export function qwen3(config: Record<string, unknown>): ModelSpec {
  const c = schema.parse(config);
  return decoder({ ...c, head_dim: c.head_dim ?? 128 }, {
    modelType: 'qwen3', tied: c.tie_word_embeddings, windows: windows(c),
    layer: (at) => ({ qNorm: `${at}.self_attn.q_norm.weight`, kNorm: `${at}.self_attn.k_norm.weight` }),
  });
}
