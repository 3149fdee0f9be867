import { matmulNN, matmulNT, matmulTN } from '../gpu/ops/matmul.js';
import { scale } from '../gpu/ops/scale.js';
import type { Program } from '../gpu/program.js';
import type { Tensor } from '../gpu/tensor.js';
import type { Layer } from './layer.js';
import type { Adapter } from './lora.js';
import type { TransformerParts } from './transformer.js';

/** u = s·x·Aᵀ [N, r]: the inner states of an adapter, its scale in them. */
function inner(p: Program, { a, scale: s }: Adapter, x: Tensor, u: Tensor): void {
  matmulNT(p, { x, w: a.value, y: u });
  scale(p, u, s);
}

/** y = (add +) x·Wᵀ, and where W has an adapter + s·(x·Aᵀ)·Bᵀ (LoRA, Hu et al. 2021, arXiv 2106.09685, Eq. 3). x [N, I], W [O, I], y [N, O]. */
export function linear(p: Program, layer: Pick<Layer, 'value' | 'adapter' | 'lora'>, weight: string, t: { x: Tensor; y: Tensor; add?: Tensor }): void {
  const { x, y, add } = t;
  matmulNT(p, { x, w: layer.value(weight), y }, add ? { add } : {});
  const adapter = layer.adapter(weight);
  if (!adapter) return;
  inner(p, adapter, x, layer.lora!);
  matmulNT(p, { x: layer.lora!, w: adapter.b.value, y }, { accumulate: true });
}

/**
 * The mirror of `linear`: dx (+)= dy·W, dW += dyᵀ·x unless W is frozen; of an adapter, with u = s·x·Aᵀ made again and du = s·dy·B,
 * dB += dyᵀ·u, dA += duᵀ·x, dx += du·A. dy [N, O], x and dx [N, I].
 */
export function linearBackward(p: Program, { parameters, acts }: Pick<TransformerParts, 'parameters' | 'acts'>, weight: string, t: { dy: Tensor; x: Tensor; dx: Tensor }, o: { accumulate?: boolean } = {}): void {
  const { dy, x, dx } = t;
  const { value, moments } = parameters.piece(weight);
  matmulNN(p, { x: dy, w: value, y: dx }, o);
  if (moments) matmulTN(p, { a: dy, b: x, y: moments.grad });
  const adapter = parameters.adapters?.of(weight);
  if (!adapter) return;
  const { a, b, scale: s } = adapter;
  const u = acts.lora!;
  inner(p, adapter, x, u);
  matmulTN(p, { a: dy, b: u, y: b.moments!.grad });
  matmulNN(p, { x: dy, w: b.value, y: u });
  scale(p, u, s);
  matmulTN(p, { a: u, b: x, y: a.moments!.grad });
  matmulNN(p, { x: u, w: a.value, y: dx }, { accumulate: true });
}
