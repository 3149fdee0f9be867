import { InputErrors } from '../../errors.js';
import type { ParameterSpec } from '../families/spec.js';

/** A DeBERTa-v2/v3 encoder (He et al. 2021, arXiv 2006.03654 and 2111.09543) as the kernels see it. */
export interface DebertaSpec {
  /** Layers, width, heads, head width, width of the feed-forward part, vocabulary. */
  L: number;
  D: number;
  H: number;
  C: number;
  F: number;
  V: number;
  /** LayerNorm's ε. */
  eps: number;
  /** Log buckets of one direction (there are 2·buckets relative embeddings), and the distance from which all are one. */
  buckets: number;
  maxDistance: number;
}

/** microsoft/deberta-v3-large, PairRM's backbone, for folders that only name it. */
export const DEBERTA_V3_LARGE: Record<string, unknown> = {
  vocab_size: 128100, hidden_size: 1024, num_hidden_layers: 24, num_attention_heads: 16, intermediate_size: 4096, hidden_act: 'gelu', layer_norm_eps: 1e-7,
  max_position_embeddings: 512, relative_attention: true, max_relative_positions: -1, position_buckets: 256, norm_rel_ebd: 'layer_norm', share_att_key: true,
  pos_att_type: 'p2c|c2p', position_biased_input: false, type_vocab_size: 0,
};

/** What transformers takes where DebertaV2Config's file is silent. */
const DEFAULTS: Record<string, unknown> = {
  hidden_act: 'gelu', layer_norm_eps: 1e-7, max_position_embeddings: 512, relative_attention: false, max_relative_positions: -1, position_buckets: -1,
  norm_rel_ebd: 'none', share_att_key: false, pos_att_type: null, position_biased_input: true, type_vocab_size: 0, conv_kernel_size: 0,
};

const list = (v: unknown): string[] => (Array.isArray(v) ? v.map(String) : String(v ?? '').split('|')).map((s) => s.trim().toLowerCase()).filter(Boolean).sort();

/**
 * Reads the numbers of a config.json. Throws InputErrors that name every missing number and every option edpo's kernels lack.
 * @param where the file, for messages
 */
export function debertaSpec(config: Record<string, unknown>, where: string): DebertaSpec {
  const c = { ...DEFAULTS, ...config };
  const problems: string[] = [];
  const whole = (key: string): number => {
    const v = c[key];
    if (!Number.isInteger(v) || (v as number) < 1) problems.push(`${key}: expected a whole number from 1, got ${JSON.stringify(v ?? null)}`);
    return v as number;
  };
  const only = (key: string, fits: boolean, expected: string): void => {
    if (!fits) problems.push(`${key}: edpo has ${expected}, got ${JSON.stringify(config[key]) ?? `nothing (transformers takes ${JSON.stringify(c[key])})`}`);
  };
  const [L, D, H, F, V, positions] = ['num_hidden_layers', 'hidden_size', 'num_attention_heads', 'intermediate_size', 'vocab_size', 'max_position_embeddings'].map(whole) as [number, number, number, number, number, number];
  if (D % H !== 0) problems.push(`hidden_size ${D} is no multiple of num_attention_heads ${H}`);
  const eps = c['layer_norm_eps'];
  if (typeof eps !== 'number' || !(eps > 0)) problems.push(`layer_norm_eps: expected a number above 0, got ${JSON.stringify(eps)}`);
  only('relative_attention', c['relative_attention'] === true, 'relative attention alone');
  only('share_att_key', c['share_att_key'] === true, 'true alone (positions share the projections of contents)');
  only('pos_att_type', list(c['pos_att_type']).join('|') === 'c2p|p2c', 'c2p and p2c together');
  only('norm_rel_ebd', list(c['norm_rel_ebd']).join('|') === 'layer_norm', 'layer_norm alone');
  only('position_biased_input', c['position_biased_input'] === false, 'false alone (no absolute positions)');
  only('type_vocab_size', c['type_vocab_size'] === 0, '0 alone (no token types)');
  only('hidden_act', c['hidden_act'] === 'gelu', 'gelu alone (the form with erf)');
  only('conv_kernel_size', !(Number(c['conv_kernel_size']) > 0), 'no convolution (0)');
  only('embedding_size', (c['embedding_size'] ?? D) === D, 'embeddings as wide as hidden_size');
  only('attention_head_size', (c['attention_head_size'] ?? D / H) === D / H, 'heads of hidden_size / num_attention_heads');
  const buckets = Number(c['position_buckets']);
  const maxDistance = Number(c['max_relative_positions']) < 1 ? positions : Number(c['max_relative_positions']);
  only('position_buckets', Number.isInteger(buckets) && buckets >= 2 && maxDistance - 1 > Math.floor(buckets / 2), `log buckets (2 or more, half of them less than ${maxDistance - 1})`);
  if (problems.length > 0) throw new InputErrors(`${where}: not an encoder edpo can run`, problems, 'edpo runs DeBERTa-v3 as microsoft/deberta-v3-large has it');
  return { L, D, H, C: D / H, F, V, eps: eps as number, buckets, maxDistance };
}

/** Names of a layer's tensors; `at` is what stands before "encoder". */
export const layerNames = (at: string, l: number) => {
  const layer = `${at}encoder.layer.${l}.`;
  const self = `${layer}attention.self.`;
  return {
    query: `${self}query_proj`, key: `${self}key_proj`, value: `${self}value_proj`, out: `${layer}attention.output.dense`, norm1: `${layer}attention.output.LayerNorm`,
    up: `${layer}intermediate.dense`, down: `${layer}output.dense`, norm2: `${layer}output.LayerNorm`,
  };
};
export const embeddingNames = (at: string) => ({
  words: `${at}embeddings.word_embeddings.weight`, norm: `${at}embeddings.LayerNorm`, relative: `${at}encoder.rel_embeddings.weight`, relativeNorm: `${at}encoder.LayerNorm`,
});

/** Weight and bias of a linear layer [out, in], and of a norm. */
export const linear = (name: string, out: number, inner: number): ParameterSpec[] => [{ name: `${name}.weight`, shape: [out, inner], table: false }, { name: `${name}.bias`, shape: [out], table: false }];
const norm = (name: string, D: number): ParameterSpec[] => ['weight', 'bias'].map((part) => ({ name: `${name}.${part}`, shape: [D], table: false }));

/** Every tensor of the encoder under transformers' names, `at` before each. */
export function debertaTensors({ L, D, F, V, buckets }: DebertaSpec, at: string): ParameterSpec[] {
  const e = embeddingNames(at);
  const layers = Array.from({ length: L }, (_, l) => layerNames(at, l)).flatMap((n) => [
    ...[n.query, n.key, n.value, n.out].flatMap((name) => linear(name, D, D)), ...norm(n.norm1, D), ...linear(n.up, F, D), ...linear(n.down, D, F), ...norm(n.norm2, D),
  ]);
  return [{ name: e.words, shape: [V, D], table: true }, ...norm(e.norm, D), { name: e.relative, shape: [2 * buckets, D], table: false }, ...norm(e.relativeNorm, D), ...layers];
}
