import { matmulNN, matmulNNSum, matmulNT, matmulTN } from '../gpu/ops/matmul.js';
import { dropout, type DropoutKeys } from '../gpu/ops/dropout.js';
import type { MatrixWeight } from '../gpu/ops/operand_layout.js';
import { matrixOperand, matrixOperandGradient } from '../gpu/ops/result_operand.js';
import { scale } from '../gpu/ops/scale.js';
import { scalar, type Program } from '../gpu/program.js';
import type { Tensor } from '../gpu/tensor.js';
import type { Layer } from './layer.js';
import type { Adapter, LoraScratch } from './lora.js';
import type { TransformerParts } from './transformer.js';

/** The step's numbers, this adapter's and the rows'. */
const keysOf = ({ matrix }: Adapter, keys: Tensor): DropoutKeys => ({ keys, matrix, stepKey: scalar('dropoutKey'), p: scalar('dropout') });

/** u = s·x·Aᵀ [N, r]: the inner states of an adapter, its scale in them; x after dropout where the run has that. Returns that x. */
function inner(p: Program, adapter: Adapter, x: Tensor, { u, packed, dropout: d }: LoraScratch): Tensor {
  const input = d ? d.dropped.as(x.shape) : x;
  if (d) dropout(p, { x, y: input }, keysOf(adapter, d.keys));
  const halves = packed && halvesOf(p, adapter);
  if (halves) matrixOperand(p, { x: input, w: halves.a, y: u, into: packed }, halves.b.slots.input, adapter.scale);
  else {
    matmulNT(p, { x: input, w: adapter.a.value, y: u });
    scale(p, u, adapter.scale);
  }
  return input;
}

/** An adapter's two matrices as operands. */
function halvesOf(p: Program, adapter: Adapter): Record<'a' | 'b', MatrixWeight> | undefined {
  const [a, b] = [adapter.a, adapter.b].map(({ value }) => p.operands?.weight(value));
  return a && b && { a, b };
}

/**
 * y = (add +) x·Wᵀ (+ bias), and where W has an adapter + s·(x'·Aᵀ)·Bᵀ (LoRA, Hu et al. 2021, arXiv 2106.09685, Eq. 3), x' = x but for dropout.
 * x [N, I], W [O, I], y [N, O]; `bias` names a vector [O].
 */
export function linear(p: Program, layer: Pick<Layer, 'value' | 'adapter' | 'lora'>, weight: string, t: { x: Tensor; y: Tensor; add?: Tensor }, bias?: string): void {
  const { x, y, add } = t;
  matmulNT(p, { x, w: layer.value(weight), y }, { add, bias: bias === undefined ? undefined : layer.value(bias) });
  const adapter = layer.adapter(weight);
  if (!adapter) return;
  inner(p, adapter, x, layer.lora!);
  matmulNT(p, { x: layer.lora!.u, w: adapter.b.value, y }, { accumulate: true });
}

/**
 * The mirror of `linear`: dx (+)= dy·W, dW += dyᵀ·x unless W is frozen; of an adapter, with u = s·x'·Aᵀ made again and du = s·dy·B,
 * dB += dyᵀ·u, dA += duᵀ·x', dx += du·A (through the same dropout). dy [N, O], x and dx [N, I]. `summed`: dx has dy·W already.
 */
export function linearBackward(p: Program, { parameters, acts }: Pick<TransformerParts, 'parameters' | 'acts'>, weight: string, t: { dy: Tensor; x: Tensor; dx: Tensor }, { accumulate = false, summed = false } = {}): void {
  const { dy, x, dx } = t;
  const { value, moments } = parameters.piece(weight);
  if (!summed) matmulNN(p, { x: dy, w: value, y: dx }, { accumulate });
  if (moments) matmulTN(p, { a: dy, b: x, y: moments.grad });
  const adapter = parameters.adapters?.of(weight);
  if (!adapter) return;
  const { a, b } = adapter;
  const { u, packed, dropout: d } = acts.lora!;
  const input = inner(p, adapter, x, acts.lora!);
  matmulTN(p, { a: dy, b: u, y: b.moments!.grad });
  const halves = packed && halvesOf(p, adapter);
  if (halves) matrixOperandGradient(p, { x: dy, w: halves.b, y: u, into: packed }, halves.a.slots.gradient, adapter.scale);
  else {
    matmulNN(p, { x: dy, w: b.value, y: u });
    scale(p, u, adapter.scale);
  }
  matmulTN(p, { a: u, b: input, y: a.moments!.grad });
  if (!d) return matmulNN(p, { x: u, w: a.value, y: dx }, { accumulate: true });
  matmulNN(p, { x: u, w: a.value, y: input });
  dropout(p, { x: input, y: dx }, keysOf(adapter, d.keys), { accumulate: true });
}

/** The mirror of several `linear`s of one x [N, I]: dx = Σ dy·W, in one product where that can be, and all else as `linearBackward` makes it. */
export function linearsBackward(p: Program, parts: Pick<TransformerParts, 'parameters' | 'acts'>, sides: Array<{ weight: string; dy: Tensor }>, t: { x: Tensor; dx: Tensor }): void {
  const pieces = sides.map(({ weight }) => parts.parameters.piece(weight));
  // Gradients of weights read x next, and so do adapters in matrices, unless part of it fell.
  const adapters = parts.acts.lora?.dropout ? [] : sides.flatMap(({ weight }) => parts.parameters.adapters?.of(weight) ?? []);
  const read = pieces.some(({ moments }) => moments) || adapters.some(({ a }) => p.operands?.weight(a.value));
  const summed = matmulNNSum(p, sides.map(({ dy }, i) => ({ x: dy, w: pieces[i]!.value })), t.dx, read ? t.x : undefined);
  sides.forEach(({ weight, dy }, i) => linearBackward(p, parts, weight, { dy, ...t }, { accumulate: i > 0, summed }));
}
