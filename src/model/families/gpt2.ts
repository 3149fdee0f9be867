import { z } from 'zod';
import { activation } from './decoder.js';
import { GELU, type LayerNames, type ModelSpec, type StoredAs } from './spec.js';

const schema = z.object({
  n_embd: z.int().positive(),
  n_layer: z.int().positive(),
  n_head: z.int().positive(),
  n_inner: z.int().positive().nullish(),
  n_positions: z.int().positive().default(1024),
  vocab_size: z.int().positive(),
  layer_norm_epsilon: z.number().positive().default(1e-5),
  activation_function: activation(Object.keys(GELU), 'gelu_new'),
  scale_attn_weights: z.boolean().default(true),
  scale_attn_by_inverse_layer_idx: z.literal(false, 'edpo scales the scores of all layers alike').default(false),
  add_cross_attention: z.literal(false, 'edpo has decoders without cross-attention only').default(false),
  tie_word_embeddings: z.boolean().default(true),
});

/** GPT-2 (Radford et al. 2019): LayerNorms, learned positions, q, k and v fused, weights stored [in, out]. */
export function gpt2(config: Record<string, unknown>): ModelSpec {
  const c = schema.parse(config);
  const [D, H, L, F] = [c.n_embd, c.n_head, c.n_layer, c.n_inner ?? 4 * c.n_embd];
  if (D % H !== 0) throw new Error(`n_embd ${D} is not a multiple of n_head ${H}`);
  const C = D / H;
  const stored: Record<string, StoredAs> = {};
  const layers = Array.from({ length: L }, (_, l): LayerNames => {
    const at = `transformer.h.${l}`;
    const qkv = (part: number, kind: 'weight' | 'bias'): string => {
      const name = `${at}.attn.${['query', 'key', 'value'][part]}.${kind}`;
      stored[name] = { name: `${at}.attn.c_attn.${kind}`, rows: 3 * D, first: part * D, block: D, stride: 0, transposed: kind === 'weight' };
      return name;
    };
    const turned = (name: string, rows: number): string => {
      stored[name] = { name, rows, first: 0, block: rows, stride: 0, transposed: true };
      return name;
    };
    return {
      norm1: `${at}.ln_1.weight`, norm1Bias: `${at}.ln_1.bias`,
      q: qkv(0, 'weight'), k: qkv(1, 'weight'), v: qkv(2, 'weight'), qBias: qkv(0, 'bias'), kBias: qkv(1, 'bias'), vBias: qkv(2, 'bias'),
      o: turned(`${at}.attn.c_proj.weight`, D), oBias: `${at}.attn.c_proj.bias`,
      norm2: `${at}.ln_2.weight`, norm2Bias: `${at}.ln_2.bias`,
      up: turned(`${at}.mlp.c_fc.weight`, F), upBias: `${at}.mlp.c_fc.bias`, down: turned(`${at}.mlp.c_proj.weight`, D), downBias: `${at}.mlp.c_proj.bias`,
    };
  });
  return {
    modelType: 'gpt2',
    D, H, G: H, C, F, V: c.vocab_size, L,
    block: {
      norm: { eps: c.layer_norm_epsilon, offset: 0 },
      position: { rotary: [], of: [] },
      attention: { scale: c.scale_attn_weights ? 1 / Math.sqrt(C) : 1, softCap: 0, windows: new Array<number>(L).fill(0) },
      mlp: { gate: GELU[c.activation_function]! },
      parallel: false,
    },
    embedScale: 1, logitSoftCap: 0, tied: c.tie_word_embeddings, maxPositions: c.n_positions, stored, prefix: 'transformer.',
    positionLimit: 'its positions are learned, and it has no more of them',
    names: { embed: 'transformer.wte.weight', positions: 'transformer.wpe.weight', layers, norm: 'transformer.ln_f.weight', normBias: 'transformer.ln_f.bias', head: 'lm_head.weight' },
  };
}
