import { z } from 'zod';
import { activation, decoder, decoderShape, layerTypes, noBias } from './decoder.js';
import { ropeLimit, rotaryOf } from './rope.js';
import type { ModelSpec } from './spec.js';

const GELU_TANH = ['gelu_pytorch_tanh', 'gelu'] as const;
const gemmaShape = {
  ...decoderShape,
  head_dim: z.int().positive().default(256),
  // transformers reads the old "gelu" of Gemma's configs as the tanh form too.
  hidden_act: activation(GELU_TANH, 'gelu_pytorch_tanh'),
  hidden_activation: z.enum(['gelu_pytorch_tanh'], 'edpo offers "gelu_pytorch_tanh" here').nullish(),
  attention_bias: noBias('attention biases'),
  tie_word_embeddings: z.boolean().default(true),
};
const gemma1Schema = z.object(gemmaShape);
const gemma2Shape = {
  ...gemmaShape,
  query_pre_attn_scalar: z.number().positive().default(256),
  sliding_window: z.int().positive().nullish(),
  layer_types: layerTypes,
  attn_logit_softcapping: z.number().positive().nullish(),
  final_logit_softcapping: z.number().positive().nullish(),
  use_bidirectional_attention: z.literal(false, 'edpo has causal attention only').nullish(),
};
const gemma2Schema = z.object(gemma2Shape);
const gemma3Schema = z.object({
  ...gemma2Shape,
  max_position_embeddings: z.int().positive().default(131072),
  sliding_window: z.int().positive().nullish().default(4096),
  sliding_window_pattern: z.int().positive().default(6),
  rope_local_base_freq: z.number().positive().default(10000),
});

/** Gemma (arXiv 2403.08295): embeddings times √D, gains stored less 1, GeGLU, a head dimension of its own. */
export function gemma(config: Record<string, unknown>): ModelSpec {
  const c = gemma1Schema.parse(config);
  return decoder(c, { modelType: 'gemma', tied: c.tie_word_embeddings, normOffset: 1, gate: 'gelu_tanh', embedScale: Math.sqrt(c.hidden_size) });
}

/** Gemma 2 (arXiv 2408.00118): also norms after attention and MLP, soft caps on scores and logits, every other layer sliding. */
export function gemma2(config: Record<string, unknown>): ModelSpec {
  const c = gemma2Schema.parse(config);
  return decoder(c, {
    modelType: 'gemma2', ...laterGemma(c),
    windows: (L) => Array.from({ length: L }, (_, l) => ((c.layer_types ? c.layer_types[l] === 'sliding_attention' : l % 2 === 0) ? (c.sliding_window ?? 0) : 0)),
    layer: postNorms,
  });
}

/** Gemma 3 for text (arXiv 2503.19786): norms of query and key heads instead of soft caps; five sliding layers to a full one, each kind with a RoPE of its own. */
export function gemma3(config: Record<string, unknown>): ModelSpec {
  const c = gemma3Schema.parse(config);
  const slides = (l: number): boolean => (c.layer_types ? c.layer_types[l] === 'sliding_attention' : (l + 1) % c.sliding_window_pattern !== 0);
  return decoder(c, {
    modelType: 'gemma3_text', ...laterGemma(c),
    windows: (L) => Array.from({ length: L }, (_, l) => (slides(l) ? (c.sliding_window ?? 0) : 0)),
    position: (C, L) => {
      const kind = (name: string, theta: number, scaling?: typeof c.rope_scaling) => {
        const nested = c.rope_parameters?.[name] as Record<string, unknown> | null | undefined;
        const given = { rope_parameters: nested ?? null, rope_scaling: scaling };
        if (ropeLimit(given)) throw new Error('rope_parameters: edpo has no dynamic RoPE for this family');
        return rotaryOf(C, given, { theta, maxPositions: c.max_position_embeddings });
      };
      return { rotary: [kind('full_attention', c.rope_theta ?? 1e6, c.rope_scaling), kind('sliding_attention', c.rope_local_base_freq)], of: Array.from({ length: L }, (_, l) => (slides(l) ? 1 : 0)) };
    },
    layer: (at) => ({ ...postNorms(at), qNorm: `${at}.self_attn.q_norm.weight`, kNorm: `${at}.self_attn.k_norm.weight` }),
  });
}

/** What Gemma 2 and 3 share. */
const laterGemma = (c: z.output<typeof gemma2Schema>) => ({
  tied: c.tie_word_embeddings, normOffset: 1 as const, gate: 'gelu_tanh' as const, embedScale: Math.sqrt(c.hidden_size),
  scale: 1 / Math.sqrt(c.query_pre_attn_scalar), softCap: c.attn_logit_softcapping ?? 0, logitSoftCap: c.final_logit_softcapping ?? 0,
});
const postNorms = (at: string) => ({ postNorm1: `${at}.post_attention_layernorm.weight`, norm2: `${at}.pre_feedforward_layernorm.weight`, postNorm2: `${at}.post_feedforward_layernorm.weight` });
