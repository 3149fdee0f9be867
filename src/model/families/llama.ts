import { z } from 'zod';
import type { ModelSpec } from './spec.js';

/** The keys of a Llama-type config.json that edpo uses; an option it lacks is refused, never ignored. */
const schema = z.object({
  hidden_size: z.int().positive(),
  intermediate_size: z.int().positive(),
  num_hidden_layers: z.int().positive(),
  num_attention_heads: z.int().positive(),
  num_key_value_heads: z.int().positive().optional(),
  head_dim: z.int().positive().nullish(),
  vocab_size: z.int().positive(),
  max_position_embeddings: z.int().positive().default(2048),
  rms_norm_eps: z.number().positive().default(1e-6),
  rope_theta: z.number().positive().default(10000),
  rope_scaling: z.null('edpo has no RoPE scaling yet').optional(),
  hidden_act: z.literal('silu', 'edpo offers the activation "silu"').default('silu'),
  attention_bias: z.literal(false, 'edpo has no attention biases yet').default(false),
  mlp_bias: z.literal(false, 'edpo has no MLP biases yet').default(false),
  tie_word_embeddings: z.boolean().default(false),
});

/** Llama (Touvron et al. 2023): pre-norm RMSNorm, RoPE (half-split), grouped-query attention, SwiGLU. */
export function llama(config: Record<string, unknown>): ModelSpec {
  const c = schema.parse(config);
  const H = c.num_attention_heads;
  const G = c.num_key_value_heads ?? H;
  const C = c.head_dim ?? c.hidden_size / H;
  if (!Number.isInteger(C)) throw new Error(`hidden_size ${c.hidden_size} is not a multiple of num_attention_heads ${H}`);
  if (C % 2 !== 0) throw new Error(`head_dim ${C} is odd; RoPE turns pairs`);
  if (H % G !== 0) throw new Error(`num_attention_heads ${H} is not a multiple of num_key_value_heads ${G}`);
  return {
    modelType: 'llama',
    D: c.hidden_size,
    H,
    G,
    C,
    F: c.intermediate_size,
    V: c.vocab_size,
    L: c.num_hidden_layers,
    block: {
      norm: { kind: 'rms', eps: c.rms_norm_eps },
      position: { kind: 'rope', theta: c.rope_theta },
      attention: { scale: 1 / Math.sqrt(C), softCap: 0, window: 0 },
      mlp: { kind: 'swiglu' },
      residual: 'pre_norm',
    },
    tied: c.tie_word_embeddings,
    maxPositions: c.max_position_embeddings,
    names: {
      embed: 'model.embed_tokens.weight',
      layers: Array.from({ length: c.num_hidden_layers }, (_, l) => {
        const at = `model.layers.${l}`;
        return {
          norm1: `${at}.input_layernorm.weight`,
          q: `${at}.self_attn.q_proj.weight`,
          k: `${at}.self_attn.k_proj.weight`,
          v: `${at}.self_attn.v_proj.weight`,
          o: `${at}.self_attn.o_proj.weight`,
          norm2: `${at}.post_attention_layernorm.weight`,
          gate: `${at}.mlp.gate_proj.weight`,
          up: `${at}.mlp.up_proj.weight`,
          down: `${at}.mlp.down_proj.weight`,
        };
      }),
      norm: 'model.norm.weight',
      head: 'lm_head.weight',
    },
  };
}
