import { attention, attentionBackward } from '../gpu/ops/attention.js';
import { addBiasBackward } from '../gpu/ops/bias.js';
import { embed, embedBackward } from '../gpu/ops/embed.js';
import { gatherRows, gatherRowsBackward } from '../gpu/ops/gather_rows.js';
import { rmsNorm, rmsNormBackward } from '../gpu/ops/rms_norm.js';
import { ropeBackward } from '../gpu/ops/rope.js';
import { swiglu, swigluBackward } from '../gpu/ops/swiglu.js';
import type { Program } from '../gpu/program.js';
import type { Tensor } from '../gpu/tensor.js';
import type { Activations, BackwardScratch, LayerActivations } from './activations.js';
import type { BatchTensors } from './batch/tensors.js';
import type { ModelSpec } from './families/spec.js';
import { addToResidual, attentionOptions, byHead, gateAndUp, mlpOutput, projections, type Layer, type PostNormTensors } from './layer.js';
import { linearBackward } from './linear.js';
import type { Parameters } from './parameters.js';

/** What a transformer's programs read and write. */
export interface TransformerParts {
  spec: ModelSpec;
  parameters: Parameters;
  batch: BatchTensors;
  acts: Activations;
}

/** ids → `acts.hidden` [S, D]: the final-norm states of the scored rows, ready for the head. */
export function forward(p: Program, parts: TransformerParts): void {
  const { spec, parameters, batch, acts } = parts;
  const { eps, offset } = spec.block.norm;
  const table = parameters.get(spec.names.embed).pieces;
  embed(p, { ids: batch.ids, pieces: table.map(({ first, value }) => ({ first, table: value })), x: acts.x(0) }, spec.embedScale);
  for (let l = 0; l < spec.L; l++) {
    p.scope(`L${String(l).padStart(2, '0')}`, () => {
      attentionHalf(p, parts, l);
      mlpHalf(p, parts, l, acts.x(l + 1));
    });
  }
  gatherRows(p, { x: acts.x(spec.L), src: batch.src, y: acts.gathered });
  rmsNorm(p, { x: acts.gathered, gain: parameters.piece(spec.names.norm).value, y: acts.hidden, rstd: acts.rstdFinal }, eps, offset);
}

const layerOf = ({ spec, parameters, acts }: TransformerParts, l: number): Layer => ({ spec, w: spec.names.layers[l]!, value: (name) => parameters.piece(name).value, adapter: (name) => parameters.adapters?.of(name), lora: acts.lora });

/** xmid = xin + attention(norm(xin)), the sum's second part normed once more where the family does that. */
function attentionHalf(p: Program, parts: TransformerParts, l: number): void {
  const { spec, batch, acts } = parts;
  const layer = layerOf(parts, l);
  const a = acts.layer(l);
  rmsNorm(p, { x: acts.x(l), gain: layer.value(layer.w.norm1), y: acts.h, rstd: a.rstd1 }, spec.block.norm.eps, spec.block.norm.offset);
  projections(p, layer, { h: acts.h, q: a.q, k: a.k, v: a.v, qHead: a.qHead, kHead: a.kHead, rope: acts.rope, position: batch.position });
  attention(p, { q: a.q, k: a.k, v: a.v, span: batch.span, position: batch.position, o: a.o, lse: a.lse }, attentionOptions(spec, l));
  addToResidual(p, layer, layer.w.o, layer.w.postNorm1, { o: a.o, x: acts.x(l), y: a.xmid, post: a.post1 });
}

/** xout = xmid + mlp(norm(xmid)). With no `xout` only what the backward pass wants is made again (checkpointing). */
function mlpHalf(p: Program, parts: TransformerParts, l: number, xout?: Tensor): void {
  const { spec, acts } = parts;
  const layer = layerOf(parts, l);
  const a = acts.layer(l);
  rmsNorm(p, { x: a.xmid, gain: layer.value(layer.w.norm2), y: acts.h, rstd: a.rstd2 }, spec.block.norm.eps, spec.block.norm.offset);
  gateAndUp(p, layer, { h: acts.h, gate: a.gate, up: a.up });
  // A post-norm's input and rstd belong to what the backward pass wants; its sum goes where nobody reads it.
  if (xout || a.post2) mlpOutput(p, layer, { gate: a.gate, up: a.up, act: acts.act, x: a.xmid, y: xout ?? acts.h, post: a.post2 });
}

/**
 * The mirror of `forward`: `scratch.dHidden` [S, D] → gradients of every trained parameter, added to their `grad`; none is made for a frozen one.
 * The residual stream's gradient `dx` [N, D] is carried in place from the last layer to the embedding.
 */
export function backward(p: Program, parts: TransformerParts, scratch: BackwardScratch): void {
  const { spec, parameters, batch, acts } = parts;
  const norm = parameters.piece(spec.names.norm);
  const { dx, dGathered, dHidden } = scratch;
  p.clear(dGathered);
  rmsNormBackward(p, { x: acts.gathered, gain: norm.value, rstd: acts.rstdFinal, dy: dHidden, dx: dGathered, dgain: norm.moments?.grad, partial: scratch.partialOf(dHidden.shape[0]!, spec.D) }, spec.block.norm.offset);
  gatherRowsBackward(p, { dy: dGathered, offsets: batch.gatherOffsets, list: batch.gatherList, dx });
  for (let l = spec.L - 1; l >= 0; l--) {
    p.scope(`L${String(l).padStart(2, '0')}`, () => {
      if (acts.checkpointed) {
        attentionHalf(p, parts, l);
        mlpHalf(p, parts, l);
      }
      mlpBackward(p, parts, scratch, l);
      attentionBackwardHalf(p, parts, scratch, l);
    });
  }
  const table = parameters.get(spec.names.embed).pieces;
  if (table[0]!.moments) embedBackward(p, {
    dx, uniqueIds: batch.uniqueIds, uniqueOffsets: batch.uniqueOffsets, rows: batch.uniqueRows,
    pieces: table.map(({ first, moments }) => ({ first, dtable: moments!.grad })),
  }, spec.embedScale);
}

/** The gradient of what was added to the residual: dx itself, or what a post-norm makes of it. */
function throughPostNorm(p: Program, { spec, parameters }: TransformerParts, s: BackwardScratch, gain: string | undefined, post: PostNormTensors | undefined): Tensor {
  if (!gain) return s.dx;
  const { value, moments } = parameters.piece(gain);
  p.clear(s.dPost!);
  rmsNormBackward(p, { x: post!.out, gain: value, rstd: post!.rstd, dy: s.dx, dx: s.dPost!, dgain: moments?.grad, partial: s.partialOf(s.dx.shape[0]!, spec.D) }, spec.block.norm.offset);
  return s.dPost!;
}

/** Undoes `mlpHalf`: dx is the gradient of xout on entry and of xmid on return. */
function mlpBackward(p: Program, parts: TransformerParts, s: BackwardScratch, l: number): void {
  const { spec, parameters, acts } = parts;
  const { eps, offset } = spec.block.norm;
  const w = spec.names.layers[l]!;
  const a: LayerActivations = acts.layer(l);
  const norm2 = parameters.piece(w.norm2);
  const dy = throughPostNorm(p, parts, s, w.postNorm2, a.post2);
  swiglu(p, { gate: a.gate, up: a.up, h: acts.act }, spec.block.mlp.gate);
  linearBackward(p, parts, w.down, { dy, x: acts.act, dx: s.dact });
  swigluBackward(p, { gate: a.gate, up: a.up, dh: s.dact, dgate: s.dgate, dup: s.dup }, spec.block.mlp.gate);
  rmsNorm(p, { x: a.xmid, gain: norm2.value, y: acts.h, rstd: a.rstd2 }, eps, offset);
  linearBackward(p, parts, w.gate, { dy: s.dgate, x: acts.h, dx: s.dh });
  linearBackward(p, parts, w.up, { dy: s.dup, x: acts.h, dx: s.dh }, { accumulate: true });
  rmsNormBackward(p, { x: a.xmid, gain: norm2.value, rstd: a.rstd2, dy: s.dh, dx: s.dx, dgain: norm2.moments?.grad, partial: s.partialOf(s.dx.shape[0]!, spec.D) }, offset);
}

/** Undoes `attentionHalf`: dx is the gradient of xmid on entry and of xin on return. */
function attentionBackwardHalf(p: Program, parts: TransformerParts, s: BackwardScratch, l: number): void {
  const { spec, parameters, batch, acts } = parts;
  const { H, G, C } = spec;
  const { eps, offset } = spec.block.norm;
  const w = spec.names.layers[l]!;
  const a = acts.layer(l);
  const N = s.dx.shape[0]!;
  const norm1 = parameters.piece(w.norm1);
  const dy = throughPostNorm(p, parts, s, w.postNorm1, a.post1);
  linearBackward(p, parts, w.o, { dy, x: a.o, dx: s.do });
  attentionBackward(
    p,
    { q: a.q, k: a.k, v: a.v, span: batch.span, position: batch.position, o: a.o, lse: a.lse, do: s.do, delta: s.delta, dq: s.dq, dk: s.dk, dv: s.dv },
    attentionOptions(spec, l),
  );
  ropeBackward(p, { x: s.dq, table: acts.rope, position: batch.position });
  ropeBackward(p, { x: s.dk, table: acts.rope, position: batch.position });
  rmsNorm(p, { x: acts.x(l), gain: norm1.value, y: acts.h, rstd: a.rstd1 }, eps, offset);
  const sides = [
    { d: s.dq, weight: w.q, bias: w.qBias, gain: w.qNorm, head: a.qHead, raw: s.dqRaw, heads: H },
    { d: s.dk, weight: w.k, bias: w.kBias, gain: w.kNorm, head: a.kHead, raw: s.dkRaw, heads: G },
    { d: s.dv, weight: w.v, bias: w.vBias, gain: undefined, head: undefined, raw: undefined, heads: G },
  ];
  sides.forEach(({ d, weight, bias, gain, head, raw, heads }, i) => {
    if (gain) {
      const piece = parameters.piece(gain);
      const rows = byHead(d, heads, C).shape[0]!;
      p.clear(raw!);
      rmsNormBackward(p, { x: byHead(head!.raw, heads, C), gain: piece.value, rstd: head!.rstd, dy: byHead(d, heads, C), dx: byHead(raw!, heads, C), dgain: piece.moments?.grad, partial: s.partialOf(rows, C) }, offset);
      d = raw!;
    }
    const db = bias ? parameters.piece(bias).moments?.grad : undefined;
    if (db) addBiasBackward(p, { dy: d, db, partial: s.partialOf(N, heads * C) });
    linearBackward(p, parts, weight, { dy: d, x: acts.h, dx: s.dh }, { accumulate: i > 0 });
  });
  rmsNormBackward(p, { x: acts.x(l), gain: norm1.value, rstd: a.rstd1, dy: s.dh, dx: s.dx, dgain: norm1.moments?.grad, partial: s.partialOf(N, spec.D) }, offset);
}
