import { z } from 'zod';
import { activation, decoder, decoderShape, noBias } from './decoder.js';
import type { ModelSpec } from './spec.js';

const schema = z.object({
  ...decoderShape,
  hidden_act: activation(['silu'], 'silu'),
  attention_bias: noBias('attention biases'),
  mlp_bias: noBias('MLP biases'),
  tie_word_embeddings: z.boolean().default(false),
});

/** Llama 1 to 3.2 (Touvron et al. 2023, arXiv 2302.13971), and the SmolLM, TinyLlama and others built like it. */
export function llama(config: Record<string, unknown>): ModelSpec {
  const c = schema.parse(config);
  return decoder(c, { modelType: 'llama', tied: c.tie_word_embeddings });
}
