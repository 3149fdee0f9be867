import { attention, attentionBackward } from '../gpu/ops/attention.js';
import { embed, embedBackward } from '../gpu/ops/embed.js';
import { gatherRows, gatherRowsBackward } from '../gpu/ops/gather_rows.js';
import { matmulNN, matmulNT, matmulTN } from '../gpu/ops/matmul.js';
import { rmsNorm, rmsNormBackward } from '../gpu/ops/rms_norm.js';
import { rope, ropeBackward } from '../gpu/ops/rope.js';
import { swiglu, swigluBackward } from '../gpu/ops/swiglu.js';
import type { Program } from '../gpu/program.js';
import type { Tensor } from '../gpu/tensor.js';
import type { Activations, BackwardScratch, LayerActivations } from './activations.js';
import type { BatchTensors } from './batch/tensors.js';
import type { ModelSpec } from './families/spec.js';
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
  const table = parameters.get(spec.names.embed).pieces;
  embed(p, { ids: batch.ids, pieces: table.map(({ first, value }) => ({ first, table: value })), x: acts.x(0) });
  for (let l = 0; l < spec.L; l++) {
    p.scope(`L${String(l).padStart(2, '0')}`, () => {
      attentionHalf(p, parts, l);
      mlpHalf(p, parts, l, acts.x(l + 1));
    });
  }
  gatherRows(p, { x: acts.x(spec.L), src: batch.src, y: acts.gathered });
  rmsNorm(p, { x: acts.gathered, gain: parameters.piece(spec.names.norm).value, y: acts.hidden, rstd: acts.rstdFinal }, spec.block.norm.eps);
}

/** xmid = xin + attention(norm(xin)). */
function attentionHalf(p: Program, { spec, parameters, batch, acts }: TransformerParts, l: number): void {
  const w = spec.names.layers[l]!;
  const a = acts.layer(l);
  const value = (name: string): Tensor => parameters.piece(name).value;
  rmsNorm(p, { x: acts.x(l), gain: value(w.norm1), y: acts.h, rstd: a.rstd1 }, spec.block.norm.eps);
  matmulNT(p, { x: acts.h, w: value(w.q), y: a.q });
  matmulNT(p, { x: acts.h, w: value(w.k), y: a.k });
  matmulNT(p, { x: acts.h, w: value(w.v), y: a.v });
  rope(p, { x: a.q, table: acts.rope, position: batch.position });
  rope(p, { x: a.k, table: acts.rope, position: batch.position });
  attention(p, { q: a.q, k: a.k, v: a.v, span: batch.span, position: batch.position, o: a.o, lse: a.lse }, attentionOptions(spec));
  matmulNT(p, { x: a.o, w: value(w.o), y: a.xmid }, { add: acts.x(l) });
}

/** xout = xmid + mlp(norm(xmid)). With no `xout` only what the backward pass wants is made again (checkpointing). */
function mlpHalf(p: Program, { spec, parameters, acts }: TransformerParts, l: number, xout?: Tensor): void {
  const w = spec.names.layers[l]!;
  const a = acts.layer(l);
  const value = (name: string): Tensor => parameters.piece(name).value;
  rmsNorm(p, { x: a.xmid, gain: value(w.norm2), y: acts.h, rstd: a.rstd2 }, spec.block.norm.eps);
  matmulNT(p, { x: acts.h, w: value(w.gate), y: a.gate });
  matmulNT(p, { x: acts.h, w: value(w.up), y: a.up });
  if (!xout) return;
  swiglu(p, { gate: a.gate, up: a.up, h: acts.act });
  matmulNT(p, { x: acts.act, w: value(w.down), y: xout }, { add: a.xmid });
}

/**
 * The mirror of `forward`: `scratch.dHidden` [S, D] → gradients of every parameter, added to their `grad`.
 * The residual stream's gradient `dx` [N, D] is carried in place from the last layer to the embedding.
 */
export function backward(p: Program, parts: TransformerParts, scratch: BackwardScratch): void {
  const { spec, parameters, batch, acts } = parts;
  const norm = parameters.piece(spec.names.norm);
  const { dx, dGathered, dHidden, partial } = scratch;
  p.clear(dGathered);
  rmsNormBackward(p, { x: acts.gathered, gain: norm.value, rstd: acts.rstdFinal, dy: dHidden, dx: dGathered, dgain: norm.moments!.grad, partial });
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
  embedBackward(p, {
    dx, uniqueIds: batch.uniqueIds, uniqueOffsets: batch.uniqueOffsets, rows: batch.uniqueRows,
    pieces: table.map(({ first, moments }) => ({ first, dtable: moments!.grad })),
  });
}

/** Undoes `mlpHalf`: dx is the gradient of xout on entry and of xmid on return. */
function mlpBackward(p: Program, { spec, parameters, acts }: TransformerParts, s: BackwardScratch, l: number): void {
  const w = spec.names.layers[l]!;
  const a: LayerActivations = acts.layer(l);
  const [down, gate, up, norm2] = [w.down, w.gate, w.up, w.norm2].map((n) => parameters.piece(n)) as [Weight, Weight, Weight, Weight];
  swiglu(p, { gate: a.gate, up: a.up, h: acts.act });
  matmulNN(p, { x: s.dx, w: down.value, y: s.dact });
  matmulTN(p, { a: s.dx, b: acts.act, y: down.moments!.grad });
  swigluBackward(p, { gate: a.gate, up: a.up, dh: s.dact, dgate: s.dgate, dup: s.dup });
  rmsNorm(p, { x: a.xmid, gain: norm2.value, y: acts.h, rstd: a.rstd2 }, spec.block.norm.eps);
  matmulTN(p, { a: s.dgate, b: acts.h, y: gate.moments!.grad });
  matmulTN(p, { a: s.dup, b: acts.h, y: up.moments!.grad });
  matmulNN(p, { x: s.dgate, w: gate.value, y: s.dh });
  matmulNN(p, { x: s.dup, w: up.value, y: s.dh }, { accumulate: true });
  rmsNormBackward(p, { x: a.xmid, gain: norm2.value, rstd: a.rstd2, dy: s.dh, dx: s.dx, dgain: norm2.moments!.grad, partial: s.partial });
}

/** Undoes `attentionHalf`: dx is the gradient of xmid on entry and of xin on return. */
function attentionBackwardHalf(p: Program, { spec, parameters, batch, acts }: TransformerParts, s: BackwardScratch, l: number): void {
  const w = spec.names.layers[l]!;
  const a = acts.layer(l);
  const [q, k, v, o, norm1] = [w.q, w.k, w.v, w.o, w.norm1].map((n) => parameters.piece(n)) as [Weight, Weight, Weight, Weight, Weight];
  matmulNN(p, { x: s.dx, w: o.value, y: s.do });
  matmulTN(p, { a: s.dx, b: a.o, y: o.moments!.grad });
  attentionBackward(
    p,
    { q: a.q, k: a.k, v: a.v, span: batch.span, position: batch.position, o: a.o, lse: a.lse, do: s.do, delta: s.delta, dq: s.dq, dk: s.dk, dv: s.dv },
    attentionOptions(spec),
  );
  ropeBackward(p, { x: s.dq, table: acts.rope, position: batch.position });
  ropeBackward(p, { x: s.dk, table: acts.rope, position: batch.position });
  rmsNorm(p, { x: acts.x(l), gain: norm1.value, y: acts.h, rstd: a.rstd1 }, spec.block.norm.eps);
  for (const [weight, d, accumulate] of [[q, s.dq, false], [k, s.dk, true], [v, s.dv, true]] as const) {
    matmulTN(p, { a: d, b: acts.h, y: weight.moments!.grad });
    matmulNN(p, { x: d, w: weight.value, y: s.dh }, { accumulate });
  }
  rmsNormBackward(p, { x: acts.x(l), gain: norm1.value, rstd: a.rstd1, dy: s.dh, dx: s.dx, dgain: norm1.moments!.grad, partial: s.partial });
}

type Weight = ReturnType<Parameters['piece']>;

function attentionOptions(spec: ModelSpec): { H: number; G: number; C: number; scale: number; softCap: number; window: number } {
  return { H: spec.H, G: spec.G, C: spec.C, ...spec.block.attention };
}
