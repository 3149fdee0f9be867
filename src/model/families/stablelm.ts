import { z } from 'zod';
import { activation, decoder, decoderShape } from './decoder.js';
import type { ModelSpec } from './spec.js';

const schema = z.object({
  ...decoderShape,
  max_position_embeddings: z.int().positive().default(4096),
  layer_norm_eps: z.number().positive().default(1e-5),
  partial_rotary_factor: z.number().positive().max(1).default(0.25),
  hidden_act: activation(['silu'], 'silu'),
  use_qkv_bias: z.boolean().default(false),
  qk_layernorm: z.literal(false, 'edpo has no LayerNorm of each head for this family').default(false),
  use_parallel_residual: z.literal(false, 'edpo has this family’s sequential blocks only').default(false),
  tie_word_embeddings: z.boolean().default(false),
});

/** StableLM 3B and 2-1.6B with their Zephyr models (Bellagente et al. 2024, arXiv 2402.17834): Llama with LayerNorms, a quarter of each head turned, and in the second biases of q, k and v. */
export function stablelm(config: Record<string, unknown>): ModelSpec {
  const c = schema.parse(config);
  return decoder({ ...c, rms_norm_eps: c.layer_norm_eps }, {
    modelType: 'stablelm', tied: c.tie_word_embeddings, rope: { partial: c.partial_rotary_factor }, normBias: 'model.norm.bias',
    layer: (at) => ({
      norm1Bias: `${at}.input_layernorm.bias`, norm2Bias: `${at}.post_attention_layernorm.bias`,
      ...(c.use_qkv_bias ? { qBias: `${at}.self_attn.q_proj.bias`, kBias: `${at}.self_attn.k_proj.bias`, vBias: `${at}.self_attn.v_proj.bias` } : {}),
    }),
  });
}
