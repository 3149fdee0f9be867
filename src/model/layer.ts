import type { AttentionOptions } from '../gpu/ops/attention.js';
import { layerNorm, layerNormOperand } from '../gpu/ops/layer_norm.js';
import { rmsNorm, rmsNormNext, rmsNormOperand } from '../gpu/ops/rms_norm.js';
import type { HeadOperands, MatrixWeight } from '../gpu/ops/operand_layout.js';
import { matrixQkv, type Side } from '../gpu/ops/result_qkv.js';
import { matrixRows } from '../gpu/ops/result_rows.js';
import { rope } from '../gpu/ops/rope.js';
import type { Program } from '../gpu/program.js';
import type { Tensor } from '../gpu/tensor.js';
import type { LayerNames, ModelSpec } from './families/spec.js';
import { linear } from './linear.js';
import type { Adapter, LoraScratch } from './lora.js';
import { normPacks, turnsWhereMade } from './operand_tensors.js';
import { layerRotary } from './rotary.js';

/** One layer of a model: its sizes and options, its tensors' names, and where their values are. */
export interface Layer {
  spec: ModelSpec;
  w: LayerNames;
  /** Which layer it is. */
  l: number;
  value: (name: string) => Tensor;
  /** The adapter on a weight, and scratch for it. */
  adapter: (name: string) => Adapter | undefined;
  lora: LoraScratch | undefined;
}

/** What of a layer says how a weight's input is read. */
export type Reader = Pick<Layer, 'value' | 'adapter' | 'lora'>;

/** What a norm keeps for its backward pass, [N] each; the mean is a LayerNorm's. */
export interface NormTensors {
  rstd: Tensor;
  mean: Tensor | undefined;
}

/** Queries or keys before their heads' norm, [N, heads*C], and the norm's rstd [N*heads]; there where the family has such norms. */
export interface HeadNormTensors {
  raw: Tensor;
  rstd: Tensor;
}

/** What a post-norm is of, [N, D], and its rstd [N]; there where the family has post-norms. */
export interface PostNormTensors {
  out: Tensor;
  rstd: Tensor;
}

/** A tensor [N, heads*C] seen as heads: [N*heads, C]. */
export const byHead = (t: Tensor, heads: number, C: number): Tensor => {
  const rows = t.shape[0]!;
  return t.as([typeof rows === 'number' ? rows * heads : rows.times(heads), C]);
};

/**
 * y = the norm of x, both [N, D]: a LayerNorm where the bias is named, else an RMSNorm. `readers` are the weights whose products are all that reads y, where that is
 * so: what they read in f16 is made as that alone.
 */
export function norm(p: Program, layer: Pick<Layer, 'spec' | 'value'> & Partial<Reader>, gain: string, bias: string | undefined, t: NormTensors & { x: Tensor; y: Tensor }, readers: string[] = []): void {
  const { x, y, rstd, mean } = t;
  const { spec, value, adapter = () => undefined, lora } = layer;
  const { eps, offset } = spec.block.norm;
  const slot = readSlot(p, { spec, value, adapter, lora }, readers);
  if (slot !== undefined && bias) layerNormOperand(p, { x, y, gain: value(gain), bias: value(bias), mean: mean!, rstd }, slot, eps);
  else if (slot !== undefined) rmsNormOperand(p, { x, y, rstd, gain: value(gain) }, slot, eps, offset);
  else if (bias) layerNorm(p, { x, y, gain: value(gain), bias: value(bias) }, eps, { mean: mean!, rstd });
  else rmsNorm(p, { x, y, rstd, gain: value(gain) }, eps, offset);
}

/** The slot of the operand that is all that the products of these weights read of a norm's output; undefined where there is none, or not one. */
function readSlot(p: Program, layer: Pick<Layer, 'spec'> & Reader, readers: string[]): number | undefined {
  const slots = new Set(readers.map((name) => operandSlots(p, layer, name)?.input));
  return slots.size === 1 && normPacks(p.gpu, layer.spec.D) ? [...slots][0] : undefined;
}

/** The norm that reads a layer's sum next: its gain, its result [N, D], rstd [N], and the weights whose products are all that reads the result. */
export interface NextNorm {
  layer: Layer;
  gain: string;
  y: Tensor;
  rstd: Tensor;
  readers: string[];
}

/** h [N, D] → q [N, H*C], k, v [N, G*C], turned by their positions; as attention's operands alone, in `kept`, where nothing comes between product and attention but that. */
export function projections(p: Program, layer: Layer, t: { h: Tensor; q: Tensor; k: Tensor; v: Tensor; kept?: HeadOperands | undefined; qHead?: HeadNormTensors | undefined; kHead?: HeadNormTensors | undefined; rope: Tensor | undefined; rotary: Tensor }): void {
  const { spec, w, l, value } = layer;
  const sides = [
    { side: 'q', weight: w.q, bias: w.qBias, gain: w.qNorm, head: t.qHead, heads: spec.H, y: t.q, turns: t.rope },
    { side: 'k', weight: w.k, bias: w.kBias, gain: w.kNorm, head: t.kHead, heads: spec.G, y: t.k, turns: t.rope },
    { side: 'v', weight: w.v, bias: w.vBias, gain: undefined, head: undefined, heads: spec.G, y: t.v, turns: undefined },
  ] as const;
  const slots = t.kept && p.gpu.uses('product_heads') ? p.operands?.attention(value(w.q)) : undefined;
  const direct = sides.map(({ side, weight, bias, gain, y, turns }): Side | undefined => {
    if (!slots || gain || !ownSlots(p, layer, weight) || (turns && !turnsWhereMade(spec, p.operands!.tile))) return undefined;
    const turn = turns && { table: turns, position: t.rotary, ...layerRotary(spec, l, turns), C: spec.C };
    return { w: p.operands!.weight(value(weight))!, y, into: t.kept![side], slot: slots[side], bias: bias === undefined ? undefined : value(bias), turn };
  });
  const [q, k, v] = direct;
  if (q && k && v && matrixQkv(p, t.h, [q, k, v])) return;
  for (const [i, { weight, bias, gain, head, heads, y, turns }] of sides.entries()) {
    const rows = direct[i];
    if (rows) {
      matrixRows(p, { x: t.h, ...rows }, rows.slot, rows);
      continue;
    }
    const out = gain ? head!.raw : y;
    // Heads that are turned whole take their bias as they turn.
    const later = p.gpu.uses('rope_bias') && bias !== undefined && !gain && turns?.shape[1] === spec.C;
    linear(p, layer, weight, { x: t.h, y: out }, later ? undefined : bias);
    if (gain) rmsNorm(p, { x: byHead(out, heads, spec.C), gain: value(gain), y: byHead(y, heads, spec.C), rstd: head!.rstd }, spec.block.norm.eps, spec.block.norm.offset);
    if (turns) rope(p, { x: y, table: turns, position: t.rotary, bias: later ? value(bias) : undefined }, layerRotary(spec, l, turns));
  }
}

/** y = x + o·Wᵀ + bias, or x + norm(o·Wᵀ) with a post-norm; `weight` [D, I], o [N, I]. Returns whether it made the next norm too, as it does with a post-norm. */
export function addToResidual(p: Program, layer: Layer, weight: string, gain: string | undefined, t: { o: Tensor; x: Tensor; y: Tensor; post?: PostNormTensors | undefined }, bias?: string, next?: NextNorm): boolean {
  const { spec, value } = layer;
  if (!gain) {
    linear(p, layer, weight, { x: t.o, y: t.y, add: t.x }, bias);
    return false;
  }
  const { eps, offset } = spec.block.norm;
  linear(p, layer, weight, { x: t.o, y: t.post!.out });
  const post = { x: t.post!.out, gain: value(gain), y: t.y, rstd: t.post!.rstd, add: t.x };
  const both = next !== undefined && p.gpu.uses('norm_next');
  if (both) rmsNormNext(p, { ...post, gainNext: value(next.gain), h: next.y, rstdNext: next.rstd }, readSlot(p, next.layer, next.readers), eps, offset);
  else rmsNorm(p, post, eps, offset);
  return both;
}

/**
 * The slots of the f16 operands that the products of a weight read, where they read nothing else and so an operand is all that need be made of their input (or
 * gradient): in mixed precision, a weight that multiplies in f16, and so its adapter, whose input has no dropout.
 */
export function operandSlots(p: Program, { value, adapter, lora }: Reader, weight: string): MatrixWeight['slots'] | undefined {
  const adapted = adapter(weight);
  return adapted && (lora?.dropout || !p.operands?.weight(adapted.a.value)) ? undefined : p.operands?.weight(value(weight))?.slots;
}

/** The same of a weight without an adapter: its product's result is whole, and may leave in another form. */
export const ownSlots = (p: Program, layer: Reader, weight: string): MatrixWeight['slots'] | undefined => (layer.adapter(weight) ? undefined : operandSlots(p, layer, weight));

/** Attention's options of layer l. */
export const attentionOptions = (spec: ModelSpec, l: number): AttentionOptions => {
  const { scale, softCap, windows } = spec.block.attention;
  return { H: spec.H, G: spec.G, C: spec.C, scale, softCap, window: windows[l]! };
};
