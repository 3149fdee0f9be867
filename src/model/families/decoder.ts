import { z } from 'zod';
import { ropeLimit, ropeShape, rotaryOf, type RopeDefaults } from './rope.js';
import type { LayerNames, ModelSpec, Rotary, StoredAs } from './spec.js';

/** Keys that every family of Llama's lineage has; a family adds its own and refuses what edpo lacks. */
export const decoderShape = {
  hidden_size: z.int().positive(),
  intermediate_size: z.int().positive(),
  num_hidden_layers: z.int().positive(),
  num_attention_heads: z.int().positive(),
  num_key_value_heads: z.int().positive().nullish(),
  head_dim: z.int().positive().nullish(),
  vocab_size: z.int().positive(),
  max_position_embeddings: z.int().positive().default(2048),
  rms_norm_eps: z.number().positive().default(1e-6),
  ...ropeShape,
};
const decoderKeys = z.object(decoderShape);

/** What a family says about itself beyond the common keys. */
export interface DecoderOptions {
  modelType: string;
  tied: boolean;
  rope?: RopeDefaults;
  /** Kinds of RoPE and each layer's choice, where there is more than the one of config.json. */
  position?: (C: number, layers: number) => { rotary: Rotary[]; of: number[] };
  normOffset?: 0 | 1;
  /** Score scale where it is not 1/sqrt(head_dim). */
  scale?: number;
  softCap?: number;
  /** Sliding window of each layer; all 0 where absent. */
  windows?: (layers: number) => number[];
  gate?: 'silu' | 'gelu_tanh';
  embedScale?: number;
  logitSoftCap?: number;
  /** Bias of the last norm, where norms are LayerNorms. */
  normBias?: string;
  /** Tensors of a layer beyond Llama's, or under other names; `at` is the layer's prefix. */
  layer?: (at: string) => Partial<LayerNames>;
  /** Parameters that the checkpoint has fused, by name; `at` is the layer's prefix. */
  stored?: (at: string, sizes: { H: number; G: number; C: number; F: number }) => Record<string, StoredAs>;
}

/** A pre-norm decoder with RMSNorm (LayerNorm where biases of norms are named), RoPE (half-split), grouped-query attention and a gated MLP, under the names Llama's checkpoints have. */
export function decoder(c: z.output<typeof decoderKeys>, o: DecoderOptions): ModelSpec {
  const H = c.num_attention_heads;
  const G = c.num_key_value_heads ?? H;
  const C = c.head_dim ?? c.hidden_size / H;
  if (!Number.isInteger(C)) throw new Error(`hidden_size ${c.hidden_size} is not a multiple of num_attention_heads ${H}`);
  if (H % G !== 0) throw new Error(`num_attention_heads ${H} is not a multiple of num_key_value_heads ${G}`);
  const L = c.num_hidden_layers;
  const F = c.intermediate_size;
  const limit = ropeLimit(c);
  return {
    modelType: o.modelType,
    D: c.hidden_size, H, G, C, F, V: c.vocab_size, L,
    block: {
      norm: { eps: c.rms_norm_eps, offset: o.normOffset ?? 0 },
      position: o.position?.(C, L) ?? { rotary: [rotaryOf(C, c, { maxPositions: c.max_position_embeddings, ...o.rope })], of: new Array<number>(L).fill(0) },
      attention: { scale: o.scale ?? 1 / Math.sqrt(C), softCap: o.softCap ?? 0, windows: o.windows?.(L) ?? new Array<number>(L).fill(0) },
      mlp: { gate: o.gate ?? 'silu' },
      parallel: false,
    },
    embedScale: o.embedScale ?? 1,
    logitSoftCap: o.logitSoftCap ?? 0,
    tied: o.tied,
    maxPositions: c.max_position_embeddings,
    ...(limit ? { positionLimit: limit } : {}),
    ...(o.stored ? { stored: Object.assign({}, ...Array.from({ length: L }, (_, l) => o.stored!(`model.layers.${l}`, { H, G, C, F }))) as Record<string, StoredAs> } : {}),
    names: {
      embed: 'model.embed_tokens.weight',
      layers: Array.from({ length: L }, (_, l) => {
        const at = `model.layers.${l}`;
        return {
          norm1: `${at}.input_layernorm.weight`,
          q: `${at}.self_attn.q_proj.weight`, k: `${at}.self_attn.k_proj.weight`, v: `${at}.self_attn.v_proj.weight`, o: `${at}.self_attn.o_proj.weight`,
          norm2: `${at}.post_attention_layernorm.weight`,
          gate: `${at}.mlp.gate_proj.weight`, up: `${at}.mlp.up_proj.weight`, down: `${at}.mlp.down_proj.weight`,
          ...o.layer?.(at),
        };
      }),
      norm: 'model.norm.weight',
      ...(o.normBias ? { normBias: o.normBias } : {}),
      head: 'lm_head.weight',
    },
  };
}

/** An activation by any of its names in config.json. */
export const activation = (names: readonly string[], fallback: string) => z.string().default(fallback).refine((v) => names.includes(v), { error: `edpo offers ${names.map((n) => `"${n}"`).join(' or ')} here` });
export const noBias = (what: string) => z.literal(false, `edpo has no ${what} for this family yet`).default(false);
/** `layer_types` of transformers: which layers slide. */
export const layerTypes = z.array(z.enum(['full_attention', 'sliding_attention'])).nullish();
