import { z } from 'zod';
import { activation, decoder, decoderShape } from './decoder.js';
import type { ModelSpec } from './spec.js';

const schema = z.object({
  ...decoderShape,
  hidden_act: activation(['silu'], 'silu'),
  sliding_window: z.int().positive().nullish(),
  tie_word_embeddings: z.boolean().default(false),
});

/** Mistral 7B (Jiang et al. 2023, arXiv 2310.06825): v0.1 with a sliding window in every layer, v0.2 and v0.3 without. */
export function mistral(config: Record<string, unknown>): ModelSpec {
  const c = schema.parse(config);
  return decoder(c, { modelType: 'mistral', tied: c.tie_word_embeddings, windows: (L) => new Array<number>(L).fill(c.sliding_window ?? 0) });
}
