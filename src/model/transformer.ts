import { activationBackward } from '../gpu/ops/activation.js';
import { attention, attentionBackward, type AttentionOptions } from '../gpu/ops/attention.js';
import { addBiasBackward } from '../gpu/ops/bias.js';
import { embed, embedAdd, embedBackward } from '../gpu/ops/embed.js';
import { gatherRows, gatherRowsBackward } from '../gpu/ops/gather_rows.js';
import { layerNormBackward } from '../gpu/ops/layer_norm.js';
import { rmsNormBackward, rmsNormBackwardAdd, rmsNormBackwardOperand } from '../gpu/ops/rms_norm.js';
import { ropeBackward } from '../gpu/ops/rope.js';
import { matmulTN } from '../gpu/ops/matmul.js';
import { matrixSwigluBackward } from '../gpu/ops/result_swiglu.js';
import { swigluBackward, swigluBackwardOperands } from '../gpu/ops/swiglu.js';
import type { HeadOperands } from '../gpu/ops/operand_layout.js';
import { byFours } from '../gpu/paths.js';
import type { Program } from '../gpu/program.js';
import type { Tensor } from '../gpu/tensor.js';
import { keepsMlp, type Activations, type BackwardScratch, type LayerActivations } from './activations.js';
import type { BatchTensors } from './batch/tensors.js';
import type { ModelSpec } from './families/spec.js';
import { addToResidual, attentionOptions, byHead, gateAndUp, mlpInner, mlpOperands, mlpOutput, mlpProduct, norm, operandSlots, projections, type Layer, type NextNorm, type NormTensors, type PostNormTensors } from './layer.js';
import { linearBackward, linearsBackward } from './linear.js';
import { normPacks } from './operand_tensors.js';
import type { Parameters } from './parameters.js';
import { layerRotary } from './rotary.js';

/** What a transformer's programs read and write. */
export interface TransformerParts {
  spec: ModelSpec;
  parameters: Parameters;
  batch: BatchTensors;
  acts: Activations;
  /** Called after each layer's dispatches, while its states still stand: `x` before it, `xmid` between its halves, `out` after it, [N, D]. */
  afterLayer?: (p: Program, l: number, states: { x: Tensor; xmid: Tensor; out: Tensor }) => void;
}

/** ids → `acts.hidden` [S, D]: the final-norm states of the scored rows, ready for the head. */
export function forward(p: Program, parts: TransformerParts): void {
  const { spec, parameters, batch, acts } = parts;
  const { names } = spec;
  const table = parameters.get(spec.names.embed).pieces;
  embed(p, { ids: batch.ids, pieces: table.map(({ first, value }) => ({ first, table: value })), x: acts.x(0) }, spec.embedScale);
  if (names.positions) embedAdd(p, { ids: batch.position, table: parameters.piece(names.positions).value, x: acts.x(0) });
  let normed = false;
  for (let l = 0; l < spec.L; l++) {
    p.scope(`L${String(l).padStart(2, '0')}`, () => {
      normed = attentionHalf(p, parts, l, normed);
      normed = mlpHalf(p, parts, l, normed);
      parts.afterLayer?.(p, l, { x: acts.x(l), xmid: acts.layer(l).xmid, out: acts.x(l + 1) });
      acts.store(p, l);
    });
  }
  gatherRows(p, { x: acts.x(spec.L), src: batch.src, y: acts.gathered });
  norm(p, { spec, value: (name) => parameters.piece(name).value }, names.norm, names.normBias, { x: acts.gathered, y: acts.hidden, ...acts.normFinal });
}

const layerOf = ({ spec, parameters, acts }: TransformerParts, l: number): Layer => ({ spec, w: spec.names.layers[l]!, l, value: (name) => parameters.piece(name).value, adapter: (name) => parameters.adapters?.of(name), lora: acts.lora });

/** Weights that read the norms' outputs. */
const attentionReaders = ({ w }: Layer): string[] => [w.q, w.k, w.v];
const mlpReaders = ({ w }: Layer): string[] => [...(w.gate ? [w.gate] : []), w.up];

/** What the MLP of layer l norms: what attention made of the residual, or the same as attention. */
const mlpInput = ({ spec, acts }: TransformerParts, l: number): Tensor => (spec.block.parallel ? acts.x(l) : acts.layer(l).xmid);

/** What attention knows of the rows. */
const rowsOf = ({ span, position, tiles }: BatchTensors): { span: Tensor; position: Tensor; tiles: Tensor } => ({ span, position, tiles });

/** Attention's options of a layer, in mixed precision with its operands and their scales. */
const scaledAttention = (p: Program, { spec, w, l, value }: Layer, kept: HeadOperands | undefined): AttentionOptions => ({ ...attentionOptions(spec, l), slots: p.operands?.attention(value(w.q)), kept });

/**
 * xmid = xin + attention(norm(xin)), the sum's second part normed once more where the family does that.
 * @param normed whether norm(xin) stands already
 * @returns whether what the MLP reads does
 */
function attentionHalf(p: Program, parts: TransformerParts, l: number, normed = false): boolean {
  const { batch, acts } = parts;
  const layer = layerOf(parts, l);
  const a = acts.layer(l);
  if (!normed) norm(p, layer, layer.w.norm1, layer.w.norm1Bias, { x: acts.x(l), y: acts.h, ...a.norm1 }, attentionReaders(layer));
  projections(p, layer, { h: acts.h, q: a.q, k: a.k, v: a.v, kept: a.operands, qHead: a.qHead, kHead: a.kHead, rope: acts.rope, rotary: batch.rotary });
  attention(p, { q: a.q, k: a.k, v: a.v, ...rowsOf(batch), o: a.o, lse: a.lse }, scaledAttention(p, layer, a.operands));
  const next = parts.spec.block.parallel ? undefined : { layer, gain: layer.w.norm2, y: acts.h, rstd: a.norm2.rstd, readers: mlpReaders(layer) };
  return addToResidual(p, layer, layer.w.o, layer.w.postNorm1, { o: a.o, x: acts.x(l), y: a.xmid, post: a.post1 }, layer.w.oBias, next);
}

/**
 * xout = xmid + mlp(norm(xmid)), or of xin in a parallel block. `again` for the backward pass (checkpointing), only what that wants is made.
 * @param normed whether norm(xmid) stands already
 * @returns whether what the next layer's attention reads does
 */
function mlpHalf(p: Program, parts: TransformerParts, l: number, normed: boolean, again = false): boolean {
  const { acts } = parts;
  const layer = layerOf(parts, l);
  const a = acts.layer(l);
  if (!normed) norm(p, layer, layer.w.norm2, layer.w.norm2Bias, { x: mlpInput(parts, l), y: acts.h, ...a.norm2 }, mlpReaders(layer));
  const t = { h: acts.h, gate: a.gate, up: a.up, act: acts.act };
  // A post-norm's input and rstd belong to what the backward pass wants; its sum is what stands there from before.
  if (again && !a.post2) {
    gateAndUp(p, layer, t);
    return false;
  }
  mlpInner(p, layer, t, again || keepsMlp(acts.keep));
  return mlpOutput(p, layer, { act: acts.act, x: a.xmid, y: acts.x(l + 1), post: a.post2 }, again ? undefined : nextLayerNorm(parts, l));
}

/** The norm of the layer after l; none where something else runs between them, which may want the operands' room. */
function nextLayerNorm(parts: TransformerParts, l: number): NextNorm | undefined {
  const { spec, acts } = parts;
  if (l + 1 === spec.L || parts.afterLayer) return undefined;
  const layer = layerOf(parts, l + 1);
  return { layer, gain: layer.w.norm1, y: acts.h, rstd: acts.layer(l + 1).norm1.rstd, readers: attentionReaders(layer) };
}

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
