import { activation } from '../gpu/ops/activation.js';
import type { MatrixWeight } from '../gpu/ops/operand_layout.js';
import { matrixSwiglu, swigluInProduct } from '../gpu/ops/result_swiglu.js';
import { swiglu, swigluOperand } from '../gpu/ops/swiglu.js';
import { PackedTensor } from '../gpu/packed.js';
import type { Program } from '../gpu/program.js';
import type { Tensor } from '../gpu/tensor.js';
import { addToResidual, operandSlots, ownSlots, type Layer, type NextNorm, type PostNormTensors, type Reader } from './layer.js';
import { linear } from './linear.js';

/* The MLP of a layer: gate and up, their product, and down. */

/** h [N, D] → gate, up [N, F]; the gate where there is one. */
export function gateAndUp(p: Program, layer: Layer, t: { h: Tensor; gate: Tensor | undefined; up: Tensor }): void {
  const { w } = layer;
  if (w.gate) linear(p, layer, w.gate, { x: t.h, y: t.gate! });
  linear(p, layer, w.up, { x: t.h, y: t.up }, w.upBias);
}

/** act [N, F] = act(gate)·up, or act(up) without a gate; only what the down projection multiplies where that is an operand of its own. */
export function mlpProduct(p: Program, layer: Layer, t: { gate: Tensor | undefined; up: Tensor; act: Tensor }): void {
  const { spec } = layer;
  const slot = p.gpu.uses('swiglu_operand') && spec.F % 4 === 0 ? operandSlots(p, layer, layer.w.down)?.input : undefined;
  if (t.gate && slot !== undefined) swigluOperand(p, { gate: t.gate, up: t.up, h: t.act }, slot, spec.block.mlp.gate);
  else if (t.gate) swiglu(p, { gate: t.gate, up: t.up, h: t.act }, spec.block.mlp.gate);
  else activation(p, { x: t.up, h: t.act }, spec.block.mlp.gate);
}

/**
 * h [N, D] → act [N, F], what the down projection multiplies: gate and up, and their product; at once where nothing else reads act.
 * @param keep whether gate and up are read later, by the backward pass
 */
export function mlpInner(p: Program, layer: Layer, t: { h: Tensor; gate: Tensor | undefined; up: Tensor; act: Tensor }, keep = true): void {
  const { spec, value, w } = layer;
  const down = w.gate === undefined ? undefined : mlpOperands(p, layer)?.down;
  if (down) {
    const [gate, up] = [w.gate!, w.up].map((name) => p.operands!.weight(value(name))!) as [MatrixWeight, MatrixWeight];
    if (swigluInProduct(p.operands!.tile, spec.F) && ![gate, up].some((x) => x.packed instanceof PackedTensor)) return matrixSwiglu(p, { x: t.h, gate: t.gate!, up: t.up, h: t.act }, { gate, up }, down.input, { gate: spec.block.mlp.gate, keep });
  }
  gateAndUp(p, layer, t);
  mlpProduct(p, layer, t);
}

/**
 * The operands' slots of a gated MLP where its products make and read nothing else between them: no weight has an adapter, up no bias. Its products then have SwiGLU, and its backward
 * pass, where their results leave.
 */
export function mlpOperands(p: Program, layer: Pick<Layer, 'spec' | 'w'> & Reader): Record<'gate' | 'up' | 'down', MatrixWeight['slots']> | undefined {
  const { spec, w } = layer;
  if (!w.gate || w.upBias || spec.F % 4 !== 0 || !p.gpu.uses('swiglu_operand') || !p.gpu.uses('swiglu_product')) return undefined;
  const [gate, up, down] = [w.gate, w.up, w.down].map((name) => ownSlots(p, layer, name));
  return gate && up && down && { gate, up, down };
}

/** y = x + down(act), act [N, F] the product of the MLP; post-norm included. Returns whether it made the next norm too. */
export function mlpOutput(p: Program, layer: Layer, t: { act: Tensor; x: Tensor; y: Tensor; post?: PostNormTensors | undefined }, next?: NextNorm): boolean {
  return addToResidual(p, layer, layer.w.down, layer.w.postNorm2, { o: t.act, x: t.x, y: t.y, post: t.post }, layer.w.downBias, next);
}
