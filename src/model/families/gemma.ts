import { z } from 'zod';
import { activation, decoder, decoderShape, layerTypes, noBias } from './decoder.js';
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
const gemma2Schema = z.object({
  ...gemmaShape,
  query_pre_attn_scalar: z.number().positive().default(256),
  sliding_window: z.int().positive().nullish(),
  layer_types: layerTypes,
  attn_logit_softcapping: z.number().positive().nullish(),
  final_logit_softcapping: z.number().positive().nullish(),
  use_bidirectional_attention: z.literal(false, 'edpo has causal attention only').nullish(),
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
    modelType: 'gemma2', tied: c.tie_word_embeddings, normOffset: 1, gate: 'gelu_tanh', embedScale: Math.sqrt(c.hidden_size),
    scale: 1 / Math.sqrt(c.query_pre_attn_scalar), softCap: c.attn_logit_softcapping ?? 0, logitSoftCap: c.final_logit_softcapping ?? 0,
    windows: (L) => Array.from({ length: L }, (_, l) => ((c.layer_types ? c.layer_types[l] === 'sliding_attention' : l % 2 === 0) ? (c.sliding_window ?? 0) : 0)),
    layer: (at) => ({ postNorm1: `${at}.post_attention_layernorm.weight`, norm2: `${at}.pre_feedforward_layernorm.weight`, postNorm2: `${at}.post_feedforward_layernorm.weight` }),
  });
}
