import { z } from 'zod';
import { activation, decoder, decoderShape, noBias } from './decoder.js';
import type { LayerNames, ModelSpec, StoredAs } from './spec.js';

const schema = z.object({
  ...decoderShape,
  rms_norm_eps: z.number().positive().default(1e-5),
  hidden_act: activation(['silu'], 'silu'),
  original_max_position_embeddings: z.int().positive().nullish(),
  partial_rotary_factor: z.number().positive().max(1).default(1),
  sliding_window: z.int().positive().nullish(),
  attention_bias: noBias('attention biases'),
  mlp_bias: noBias('MLP biases'),
  tie_word_embeddings: z.boolean().default(false),
});
type Rope = Record<string, unknown> | null | undefined;

/** transformers takes the "su" and "yarn" of early Phi-3 checkpoints for LongRoPE. */
const longRoPE = (rope: Rope): Rope => {
  const key = rope && 'rope_type' in rope ? 'rope_type' : 'type';
  return rope && ['su', 'yarn'].includes(String(rope[key])) ? { ...rope, [key]: 'longrope' } : rope;
};

/** Phi-3 and 3.5 mini, Phi-4 (arXiv 2404.14219): Llama with q, k, v in one tensor, gate and up in another, and LongRoPE. */
export function phi3(config: Record<string, unknown>): ModelSpec {
  const c = schema.parse(config);
  return decoder({ ...c, rope_scaling: longRoPE(c.rope_scaling), rope_parameters: longRoPE(c.rope_parameters) }, {
    modelType: 'phi3', tied: c.tie_word_embeddings,
    rope: { partial: c.partial_rotary_factor, original: c.original_max_position_embeddings ?? undefined },
    windows: (L) => new Array<number>(L).fill(c.sliding_window ?? 0),
    layer: (at): Partial<LayerNames> => ({ q: `${at}.self_attn.qkv_proj.query.weight`, k: `${at}.self_attn.qkv_proj.key.weight`, v: `${at}.self_attn.qkv_proj.value.weight`, gate: `${at}.mlp.gate_up_proj.gate.weight`, up: `${at}.mlp.gate_up_proj.up.weight` }),
    stored: (at, { H, G, C, F }) => {
      const part = (name: string, rows: number, first: number, block: number): StoredAs => ({ name: `${at}.${name}.weight`, rows, first, block, stride: 0, transposed: false });
      const all = (H + 2 * G) * C;
      return {
        [`${at}.self_attn.qkv_proj.query.weight`]: part('self_attn.qkv_proj', all, 0, H * C),
        [`${at}.self_attn.qkv_proj.key.weight`]: part('self_attn.qkv_proj', all, H * C, G * C),
        [`${at}.self_attn.qkv_proj.value.weight`]: part('self_attn.qkv_proj', all, (H + G) * C, G * C),
        [`${at}.mlp.gate_up_proj.gate.weight`]: part('mlp.gate_up_proj', 2 * F, 0, F),
        [`${at}.mlp.gate_up_proj.up.weight`]: part('mlp.gate_up_proj', 2 * F, F, F),
      };
    },
  });
}
