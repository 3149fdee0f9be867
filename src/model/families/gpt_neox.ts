import { z } from 'zod';
import { activation } from './decoder.js';
import { ropeLimit, ropeShape, rotaryOf } from './rope.js';
import { GELU, type LayerNames, type ModelSpec, type StoredAs } from './spec.js';

const schema = z.object({
  hidden_size: z.int().positive(),
  intermediate_size: z.int().positive(),
  num_hidden_layers: z.int().positive(),
  num_attention_heads: z.int().positive(),
  vocab_size: z.int().positive(),
  max_position_embeddings: z.int().positive().default(2048),
  layer_norm_eps: z.number().positive().default(1e-5),
  ...ropeShape,
  rotary_pct: z.number().positive().max(1).default(0.25),
  rotary_emb_base: z.number().positive().default(10000),
  hidden_act: activation(Object.keys(GELU), 'gelu'),
  use_parallel_residual: z.boolean().default(true),
  attention_bias: z.literal(true, 'edpo has GPT-NeoX with attention biases only').default(true),
  tie_word_embeddings: z.boolean().default(false),
});

/** GPT-NeoX (Black et al. 2022, arXiv 2204.06745) and Pythia: LayerNorms, attention and MLP in parallel, a part of each head turned, q, k and v fused head by head. */
export function gptNeox(config: Record<string, unknown>): ModelSpec {
  const c = schema.parse(config);
  const [D, H, L] = [c.hidden_size, c.num_attention_heads, c.num_hidden_layers];
  if (D % H !== 0) throw new Error(`hidden_size ${D} is not a multiple of num_attention_heads ${H}`);
  const C = D / H;
  const limit = ropeLimit(c);
  const stored: Record<string, StoredAs> = {};
  const layers = Array.from({ length: L }, (_, l): LayerNames => {
    const at = `gpt_neox.layers.${l}`;
    const qkv = (part: number, kind: 'weight' | 'bias'): string => {
      const name = `${at}.attention.${['query', 'key', 'value'][part]}.${kind}`;
      stored[name] = { name: `${at}.attention.query_key_value.${kind}`, rows: 3 * D, first: part * C, block: C, stride: 3 * C, transposed: false };
      return name;
    };
    return {
      norm1: `${at}.input_layernorm.weight`, norm1Bias: `${at}.input_layernorm.bias`,
      q: qkv(0, 'weight'), k: qkv(1, 'weight'), v: qkv(2, 'weight'), qBias: qkv(0, 'bias'), kBias: qkv(1, 'bias'), vBias: qkv(2, 'bias'),
      o: `${at}.attention.dense.weight`, oBias: `${at}.attention.dense.bias`,
      norm2: `${at}.post_attention_layernorm.weight`, norm2Bias: `${at}.post_attention_layernorm.bias`,
      up: `${at}.mlp.dense_h_to_4h.weight`, upBias: `${at}.mlp.dense_h_to_4h.bias`,
      down: `${at}.mlp.dense_4h_to_h.weight`, downBias: `${at}.mlp.dense_4h_to_h.bias`,
    };
  });
  return {
    modelType: 'gpt_neox',
    D, H, G: H, C, F: c.intermediate_size, V: c.vocab_size, L,
    block: {
      norm: { eps: c.layer_norm_eps, offset: 0 },
      position: { rotary: [rotaryOf(C, c, { theta: c.rotary_emb_base, partial: c.rotary_pct, maxPositions: c.max_position_embeddings })], of: new Array<number>(L).fill(0) },
      attention: { scale: 1 / Math.sqrt(C), softCap: 0, windows: new Array<number>(L).fill(0) },
      mlp: { gate: GELU[c.hidden_act]! },
      parallel: c.use_parallel_residual,
    },
    embedScale: 1, logitSoftCap: 0, tied: c.tie_word_embeddings, maxPositions: c.max_position_embeddings, stored,
    ...(limit ? { positionLimit: limit } : {}),
    names: { embed: 'gpt_neox.embed_in.weight', layers, norm: 'gpt_neox.final_layer_norm.weight', normBias: 'gpt_neox.final_layer_norm.bias', head: 'embed_out.weight' },
  };
}
