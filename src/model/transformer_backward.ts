import { activationBackward } from '../gpu/ops/activation.js';
import { attentionBackward } from '../gpu/ops/attention.js';
import { addBiasBackward } from '../gpu/ops/bias.js';
import { embedBackward } from '../gpu/ops/embed.js';
import { gatherRowsBackward } from '../gpu/ops/gather_rows.js';
import { layerNormBackward } from '../gpu/ops/layer_norm.js';
import { rmsNormBackward, rmsNormBackwardAdd, rmsNormBackwardOperand } from '../gpu/ops/rms_norm.js';
import { ropeBackward } from '../gpu/ops/rope.js';
import { matmulTN } from '../gpu/ops/matmul.js';
import { matrixSwigluBackward } from '../gpu/ops/result_swiglu.js';
import { swigluBackward, swigluBackwardOperands } from '../gpu/ops/swiglu.js';
import { byFours } from '../gpu/paths.js';
import type { Program } from '../gpu/program.js';
import type { Tensor } from '../gpu/tensor.js';
import type { BackwardScratch, LayerActivations } from './activations.js';
import { byHead, norm, operandSlots, type Layer, type NormTensors, type PostNormTensors } from './layer.js';
import { mlpOperands, mlpProduct } from './mlp.js';
import { linearBackward, linearsBackward } from './linear.js';
import { normPacks } from './operand_tensors.js';
import { layerRotary } from './rotary.js';
import { attentionHalf, attentionReaders, layerOf, mlpHalf, mlpInput, mlpReaders, rowsOf, scaledAttention, type TransformerParts } from './transformer.js';

/**
 * The mirror of `forward`: `scratch.dHidden` [S, D] → gradients of every trained parameter, added to their `grad`; none is made for a frozen one.
 * The residual stream's gradient `dx` [N, D] is carried in place from the last layer to the embedding.
 */
export function backward(p: Program, parts: TransformerParts, scratch: BackwardScratch): void {
  const { spec, parameters, batch, acts } = parts;
  const { names } = spec;
  const { dx, dGathered, dHidden } = scratch;
  normBackward(p, parts, scratch, names.norm, names.normBias, { x: acts.gathered, dy: dHidden, dx: dGathered, ...acts.normFinal }, 'write');
  gatherRowsBackward(p, { dy: dGathered, offsets: batch.gatherOffsets, list: batch.gatherList, dx });
  for (let l = spec.L - 1; l >= 0; l--) {
    p.scope(`L${String(l).padStart(2, '0')}`, () => {
      acts.restore(p, l);
      const normed = acts.checkpointed && attentionHalf(p, parts, l);
      if (acts.checkpointed || acts.keep === 'mlp') mlpHalf(p, parts, l, normed, true);
      if (scratch.dBlock) p.copy(dx, scratch.dBlock);
      mlpBackward(p, parts, scratch, l);
      attentionBackwardHalf(p, parts, scratch, l);
    });
  }
  const positions = names.positions ? parameters.piece(names.positions).moments?.grad : undefined;
  if (positions) embedBackward(p, { dx, uniqueIds: batch.uniquePositions, uniqueOffsets: batch.positionOffsets, rows: batch.positionRows, pieces: [{ first: 0, dtable: positions }] });
  const table = parameters.get(names.embed).pieces;
  if (table[0]!.moments) embedBackward(p, {
    dx, uniqueIds: batch.uniqueIds, uniqueOffsets: batch.uniqueOffsets, rows: batch.uniqueRows,
    pieces: table.map(({ first, moments }) => ({ first, dtable: moments!.grad })),
  }, spec.embedScale);
}

/**
 * Undoes `norm`: adds to dx (or makes it) and adds to the gradients of gain and bias.
 * @param next the weight whose product reads dx next, which is given the operand too
 */
function normBackward(p: Program, { spec, parameters }: TransformerParts, s: BackwardScratch, gain: string, bias: string | undefined, t: NormTensors & { x: Tensor; dy: Tensor; dx: Tensor }, onto: 'add' | 'write' = 'add', next?: string): void {
  const { x, dy, dx, rstd, mean } = t;
  if (bias && onto === 'write') p.clear(dx);
  const { value, moments } = parameters.piece(gain);
  const common = { x, gain: value, rstd, dy, dx, dgain: moments?.grad, partial: s.partialOf(dy.shape[0]!, spec.D) };
  const slot = next !== undefined && onto === 'add' && p.gpu.uses('residual_operand') && byFours(p.gpu, spec.D) ? p.operands?.weight(parameters.piece(next).value)?.slots.gradient : undefined;
  if (bias) layerNormBackward(p, { ...common, mean: mean!, dbias: parameters.piece(bias).moments?.grad });
  else if (slot !== undefined) rmsNormBackwardAdd(p, common, slot, spec.block.norm.offset);
  else rmsNormBackward(p, common, spec.block.norm.offset, onto);
}

/** The weight of layer l whose product reads the residual's gradient as it is: attention's or the MLP's last, unless a post-norm or a parallel block's own sum comes between. */
const nextReader = ({ spec }: TransformerParts, l: number, weight: 'o' | 'down'): string | undefined => {
  const w = spec.names.layers[l];
  return spec.block.parallel || w === undefined || (weight === 'o' ? w.postNorm1 : w.postNorm2) !== undefined ? undefined : w[weight];
};

/** db += Σ dy over the rows, unless there is no such bias or it is frozen; dy [N, width]. */
function biasBackward(p: Program, { parameters }: TransformerParts, s: BackwardScratch, bias: string | undefined, dy: Tensor, width: number): void {
  const db = bias ? parameters.piece(bias).moments?.grad : undefined;
  if (db) addBiasBackward(p, { dy, db, partial: s.partialOf(dy.shape[0]!, width) });
}

/** The gradient of what was added to the residual: dx itself (as it entered a parallel block), or what a post-norm makes of it. */
function throughPostNorm(p: Program, { spec, parameters }: TransformerParts, s: BackwardScratch, layer: Layer, t: { gain: string | undefined; weight: string; bias: string | undefined; post: PostNormTensors | undefined }): Tensor {
  if (!t.gain) return s.dBlock ?? s.dx;
  const { value, moments } = parameters.piece(t.gain);
  const { offset } = spec.block.norm;
  const back = { x: t.post!.out, gain: value, rstd: t.post!.rstd, dy: s.dx, dx: s.dPost!, dgain: moments?.grad, partial: s.partialOf(s.dx.shape[0]!, spec.D) };
  const slot = t.bias === undefined && normPacks(p.gpu, spec.D) ? operandSlots(p, layer, t.weight)?.gradient : undefined;
  if (slot !== undefined) rmsNormBackwardOperand(p, back, slot, offset);
  else rmsNormBackward(p, back, offset, 'write');
  return s.dPost!;
}

/** Undoes `mlpHalf`: dx is the gradient of xout on entry and of xmid on return. */
function mlpBackward(p: Program, parts: TransformerParts, s: BackwardScratch, l: number): void {
  const { spec, parameters, acts } = parts;
  const layer = layerOf(parts, l);
  const { w } = layer;
  const a: LayerActivations = acts.layer(l);
  const xin = mlpInput(parts, l);
  const dy = throughPostNorm(p, parts, s, layer, { gain: w.postNorm2, weight: w.down, bias: w.downBias, post: a.post2 });
  const fused = mlpOperands(p, layer);
  if (fused) {
    const { value, moments } = parameters.piece(w.down);
    matrixSwigluBackward(p, { dy, gate: a.gate!, up: a.up, dgate: s.dgate!, dup: s.dup, h: moments && acts.act }, p.operands!.weight(value)!, { gate: fused.gate.gradient, up: fused.up.gradient }, spec.block.mlp.gate);
    if (moments) matmulTN(p, { a: dy, b: acts.act, y: moments.grad });
  } else {
    mlpProduct(p, layer, { gate: a.gate, up: a.up, act: acts.act });
    linearBackward(p, parts, w.down, { dy, x: acts.act, dx: s.dact });
  }
  biasBackward(p, parts, s, w.downBias, dy, spec.D);
  if (w.gate && !fused) {
    const t = { gate: a.gate!, up: a.up, dh: s.dact, dgate: s.dgate!, dup: s.dup };
    const [gate, up] = [w.gate, w.up].map((name) => operandSlots(p, layer, name)?.gradient);
    if (p.gpu.uses('swiglu_operand') && gate !== undefined && up !== undefined && !w.upBias && spec.F % 4 === 0) swigluBackwardOperands(p, t, { gate, up }, spec.block.mlp.gate);
    else swigluBackward(p, t, spec.block.mlp.gate);
  } else if (!w.gate) activationBackward(p, { x: a.up, dh: s.dact, dx: s.dup }, spec.block.mlp.gate);
  biasBackward(p, parts, s, w.upBias, s.dup, spec.F);
  norm(p, layer, w.norm2, w.norm2Bias, { x: xin, y: acts.h, ...a.norm2 }, mlpReaders(layer));
  linearsBackward(p, parts, [...(w.gate ? [{ weight: w.gate, dy: s.dgate! }] : []), { weight: w.up, dy: s.dup }], { x: acts.h, dx: s.dh });
  normBackward(p, parts, s, w.norm2, w.norm2Bias, { x: xin, dy: s.dh, dx: s.dx, ...a.norm2 }, 'add', nextReader(parts, l, 'o'));
}

/** Undoes `attentionHalf`: dx is the gradient of xmid on entry and of xin on return. */
function attentionBackwardHalf(p: Program, parts: TransformerParts, s: BackwardScratch, l: number): void {
  const { spec, parameters, batch, acts } = parts;
  const { H, G, C } = spec;
  const { offset } = spec.block.norm;
  const layer = layerOf(parts, l);
  const { w } = layer;
  const a = acts.layer(l);
  const dy = throughPostNorm(p, parts, s, layer, { gain: w.postNorm1, weight: w.o, bias: w.oBias, post: a.post1 });
  linearBackward(p, parts, w.o, { dy, x: a.o, dx: s.do });
  biasBackward(p, parts, s, w.oBias, dy, spec.D);
  attentionBackward(
    p,
    { q: a.q, k: a.k, v: a.v, ...rowsOf(batch), o: a.o, lse: a.lse, do: s.do, delta: s.delta, dq: s.dq, dk: s.dk, dv: s.dv },
    scaledAttention(p, layer, a.operands),
  );
  if (acts.rope) for (const x of [s.dq, s.dk]) ropeBackward(p, { x, table: acts.rope, position: batch.rotary }, layerRotary(spec, l, acts.rope));
  norm(p, layer, w.norm1, w.norm1Bias, { x: acts.x(l), y: acts.h, ...a.norm1 }, attentionReaders(layer));
  const sides = [
    { d: s.dq, weight: w.q, bias: w.qBias, gain: w.qNorm, head: a.qHead, raw: s.dqRaw, heads: H },
    { d: s.dk, weight: w.k, bias: w.kBias, gain: w.kNorm, head: a.kHead, raw: s.dkRaw, heads: G },
    { d: s.dv, weight: w.v, bias: w.vBias, gain: undefined, head: undefined, raw: undefined, heads: G },
  ];
  const through = sides.map(({ d, weight, bias, gain, head, raw, heads }) => {
    if (gain) {
      const piece = parameters.piece(gain);
      const rows = byHead(d, heads, C).shape[0]!;
      rmsNormBackward(p, { x: byHead(head!.raw, heads, C), gain: piece.value, rstd: head!.rstd, dy: byHead(d, heads, C), dx: byHead(raw!, heads, C), dgain: piece.moments?.grad, partial: s.partialOf(rows, C) }, offset, 'write');
      d = raw!;
    }
    biasBackward(p, parts, s, bias, d, heads * C);
    return { weight, dy: d };
  });
  linearsBackward(p, parts, through, { x: acts.h, dx: s.dh });
  // What is made again of the layer before comes first and takes the operands' room.
  const next = acts.keep === 'train' ? nextReader(parts, l - 1, 'down') : undefined;
  normBackward(p, parts, s, w.norm1, w.norm1Bias, { x: acts.x(l), dy: s.dh, dx: s.dx, ...a.norm1 }, 'add', next);
}
