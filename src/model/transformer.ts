import { attention, type AttentionOptions } from '../gpu/ops/attention.js';
import { embed, embedAdd } from '../gpu/ops/embed.js';
import { gatherRows } from '../gpu/ops/gather_rows.js';
import type { HeadOperands } from '../gpu/ops/operand_layout.js';
import type { Program } from '../gpu/program.js';
import type { Tensor } from '../gpu/tensor.js';
import { keepsMlp, type Activations } from './activations.js';
import type { BatchTensors } from './batch/tensors.js';
import type { ModelSpec } from './families/spec.js';
import { addToResidual, attentionOptions, norm, projections, type Layer, type NextNorm } from './layer.js';
import { gateAndUp, mlpInner, mlpOutput } from './mlp.js';
import type { Parameters } from './parameters.js';

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

export const layerOf = ({ spec, parameters, acts }: TransformerParts, l: number): Layer => ({ spec, w: spec.names.layers[l]!, l, value: (name) => parameters.piece(name).value, adapter: (name) => parameters.adapters?.of(name), lora: acts.lora });

/** Weights that read the norms' outputs. */
export const attentionReaders = ({ w }: Layer): string[] => [w.q, w.k, w.v];
export const mlpReaders = ({ w }: Layer): string[] => [...(w.gate ? [w.gate] : []), w.up];

/** What the MLP of layer l norms: what attention made of the residual, or the same as attention. */
export const mlpInput = ({ spec, acts }: TransformerParts, l: number): Tensor => (spec.block.parallel ? acts.x(l) : acts.layer(l).xmid);

/** What attention knows of the rows. */
export const rowsOf = ({ span, position, tiles }: BatchTensors): { span: Tensor; position: Tensor; tiles: Tensor } => ({ span, position, tiles });

/** Attention's options of a layer, in mixed precision with its operands and their scales. */
export const scaledAttention = (p: Program, { spec, w, l, value }: Layer, kept: HeadOperands | undefined): AttentionOptions => ({ ...attentionOptions(spec, l), slots: p.operands?.attention(value(w.q)), kept });

/**
 * xmid = xin + attention(norm(xin)), the sum's second part normed once more where the family does that.
 * @param normed whether norm(xin) stands already
 * @returns whether what the MLP reads does
 */
export function attentionHalf(p: Program, parts: TransformerParts, l: number, normed = false): boolean {
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
export function mlpHalf(p: Program, parts: TransformerParts, l: number, normed: boolean, again = false): boolean {
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
