import { addBias } from '../gpu/ops/bias.js';
import { rmsNorm } from '../gpu/ops/rms_norm.js';
import { rope } from '../gpu/ops/rope.js';
import { swiglu } from '../gpu/ops/swiglu.js';
import type { Program } from '../gpu/program.js';
import type { Tensor } from '../gpu/tensor.js';
import type { LayerNames, ModelSpec } from './families/spec.js';
import { linear } from './linear.js';
import type { Adapter, LoraScratch } from './lora.js';

/** One layer of a model: its sizes and options, its tensors' names, and where their values are. */
export interface Layer {
  spec: ModelSpec;
  w: LayerNames;
  value: (name: string) => Tensor;
  /** The adapter on a weight, and scratch for it. */
  adapter: (name: string) => Adapter | undefined;
  lora: LoraScratch | undefined;
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

/** h [N, D] → q [N, H*C], k, v [N, G*C], turned by their positions. */
export function projections(p: Program, layer: Layer, t: { h: Tensor; q: Tensor; k: Tensor; v: Tensor; qHead?: HeadNormTensors | undefined; kHead?: HeadNormTensors | undefined; rope: Tensor; position: Tensor }): void {
  const { spec, w, value } = layer;
  for (const [weight, bias, gain, head, heads, y] of [[w.q, w.qBias, w.qNorm, t.qHead, spec.H, t.q], [w.k, w.kBias, w.kNorm, t.kHead, spec.G, t.k], [w.v, w.vBias, undefined, undefined, spec.G, t.v]] as const) {
    const out = gain ? head!.raw : y;
    linear(p, layer, weight, { x: t.h, y: out });
    if (bias) addBias(p, { y: out, b: value(bias) });
    if (gain) rmsNorm(p, { x: byHead(out, heads, spec.C), gain: value(gain), y: byHead(y, heads, spec.C), rstd: head!.rstd }, spec.block.norm.eps, spec.block.norm.offset);
  }
  rope(p, { x: t.q, table: t.rope, position: t.position });
  rope(p, { x: t.k, table: t.rope, position: t.position });
}

/** y = x + o·Wᵀ, or x + norm(o·Wᵀ) with a post-norm; `weight` [D, I], o [N, I]. */
export function addToResidual(p: Program, layer: Layer, weight: string, gain: string | undefined, t: { o: Tensor; x: Tensor; y: Tensor; post?: PostNormTensors | undefined }): void {
  const { spec, value } = layer;
  if (!gain) return linear(p, layer, weight, { x: t.o, y: t.y, add: t.x });
  linear(p, layer, weight, { x: t.o, y: t.post!.out });
  rmsNorm(p, { x: t.post!.out, gain: value(gain), y: t.y, rstd: t.post!.rstd, add: t.x }, spec.block.norm.eps, spec.block.norm.offset);
}

/** h [N, D] → gate, up [N, F]. */
export function gateAndUp(p: Program, layer: Layer, t: { h: Tensor; gate: Tensor; up: Tensor }): void {
  linear(p, layer, layer.w.gate, { x: t.h, y: t.gate });
  linear(p, layer, layer.w.up, { x: t.h, y: t.up });
}

/** act [N, F] = act(gate)·up, then y = x + down(act), post-norm included. */
export function mlpOutput(p: Program, layer: Layer, t: { gate: Tensor; up: Tensor; act: Tensor; x: Tensor; y: Tensor; post?: PostNormTensors | undefined }): void {
  swiglu(p, { gate: t.gate, up: t.up, h: t.act }, layer.spec.block.mlp.gate);
  addToResidual(p, layer, layer.w.down, layer.w.postNorm2, { o: t.act, x: t.x, y: t.y, post: t.post });
}

/** Attention's options of layer l. */
export const attentionOptions = (spec: ModelSpec, l: number): { H: number; G: number; C: number; scale: number; softCap: number; window: number } => {
  const { scale, softCap, windows } = spec.block.attention;
  return { H: spec.H, G: spec.G, C: spec.C, scale, softCap, window: windows[l]! };
};
