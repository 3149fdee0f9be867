import type { Gpu } from '../../gpu/device.js';
import { attention } from '../../gpu/ops/attention.js';
import { embed, embedAdd } from '../../gpu/ops/embed.js';
import { gatherRows } from '../../gpu/ops/gather_rows.js';
import { matmulNT } from '../../gpu/ops/matmul.js';
import { scatterRows } from '../../gpu/ops/scatter_rows.js';
import { softCap } from '../../gpu/ops/soft_cap.js';
import { Program } from '../../gpu/program.js';
import { ReadbackRing } from '../../gpu/readback.js';
import { Dyn, Tensor, type Extent } from '../../gpu/tensor.js';
import { headTable } from '../recorded_run.js';
import { addToResidual, attentionOptions, norm, projections, type Layer } from '../layer.js';
import { mlpInner, mlpOutput } from '../mlp.js';
import type { Parameters } from '../parameters.js';
import { longFrom, rotaryRows, rotaryTables, rotaryWidth } from '../rotary.js';
import { sampleToken, type SamplingOptions } from './sample.js';

export interface GenerationRequest {
  /** Key of the random numbers: the prompt's number in the data. */
  index: number;
  prompt: number[];
  /** Instead of the run's. */
  temperature?: number;
}

export interface Generation {
  index: number;
  ids: number[];
  /** stop: an end token; length: max_new_tokens. */
  finish: 'stop' | 'length';
  /** The end token, which `ids` leave out. */
  stopId?: number;
}

/** A token row of one pass; `tokens` its sequence has with it. */
interface Row {
  id: number;
  position: number;
  slot: number;
  tokens: number;
}

/** A reference whose logits are mixed into the policy's. */
export interface Realignment {
  reference: Parameters;
  lambda: number;
}

/** λ f + (1 - λ) r in place on f; at λ = 1 the bits of f. */
function realigned(f: Float32Array, r: Float32Array, lambda: number): void {
  for (let j = 0; j < f.length; j++) f[j] = lambda * f[j]! + (1 - lambda) * r[j]!;
}

/**
 * Batched generation with a KV cache on the GPU. `slots` answers run at a time; each row's arithmetic is its own, so neither the
 * batch nor its order changes an answer.
 */
export class Generator {
  private readonly program: Program;
  private readonly ids: Tensor;
  private readonly position: Tensor;
  /** Rows of the rotary tables: the positions, but for answers that have grown long where that makes a difference. */
  private readonly rotary: Tensor;
  private readonly longFrom: number;
  private readonly rows: number;
  private readonly span: Tensor;
  private readonly dst: Tensor;
  private readonly src: Tensor;
  private readonly logits: Tensor[];
  private readonly ring: ReadbackRing;

  private readonly reference: Generator | undefined;

  /**
   * @param length tokens of a slot: prompt and answer. @param rows token rows of one pass (prefill).
   * @param realign decodes the policy whose logits are λ f + (1 - λ) r at every position, both models together (ε-DPO paper, Proposition 1;
   *   Liu et al. 2024, arXiv 2402.02992): what training at β/λ would come to
   */
  constructor(private readonly gpu: Gpu, private readonly parameters: Parameters, private readonly slots: number, private readonly length: number, rows: number, private readonly realign?: Realignment) {
    // An answer that grows long is fed again from its start, in one pass.
    this.rows = Math.max(rows, ...[parameters, realign?.reference].map((m) => (m ? (longFrom(m.spec, length) ?? -1) + 1 : 0)));
    this.reference = realign && new Generator(gpu, realign.reference, slots, length, this.rows);
    const { spec } = parameters;
    const { D, H, G, C, F, L, names, block } = spec;
    const N = new Dyn('N', this.rows);
    const S = new Dyn('S', slots);
    const make = (label: string, ...shape: Extent[]): Tensor => new Tensor(gpu, `generate.${label}`, shape);
    const u32 = (label: string, ...shape: Extent[]): Tensor => new Tensor(gpu, `generate.${label}`, shape, 'u32');
    this.ids = u32('ids', N);
    this.position = u32('position', N);
    const long = longFrom(spec, length);
    this.longFrom = long ?? Infinity;
    this.rotary = long === undefined ? this.position : u32('rotary', N);
    this.span = u32('span', N, 4);
    this.dst = u32('dst', N);
    this.src = u32('src', S);
    const p = (this.program = new Program(gpu, 'generate'));
    const R = rotaryWidth(spec);
    const table = R > 0 ? make('rope', rotaryRows(spec, length), R) : undefined;
    table?.write(rotaryTables(spec, length));
    const [x, xmid, h] = [make('x', N, D), make('xmid', N, D), make('h', N, D)];
    const [q, k, v, o] = [make('q', N, H * C), make('k', N, G * C), make('v', N, G * C), make('o', N, H * C)];
    const first = names.layers[0]!;
    const [gate, up, act] = [first.gate ? make('gate', N, F) : undefined, make('up', N, F), make('act', N, F)];
    const [rstd, mean, lse] = [make('rstd', N), first.norm1Bias ? make('mean', N) : undefined, make('lse', N, H)];
    const value = (name: string): Tensor => parameters.piece(name).value;
    const { adapters } = parameters;
    const lora = adapters && { u: make('lora', N, adapters.rank), packed: undefined, dropout: undefined };
    const qHead = first.qNorm ? { raw: make('q_raw', N, H * C), rstd: make('rstd_q', N.times(H)) } : undefined;
    const kHead = first.kNorm ? { raw: make('k_raw', N, G * C), rstd: make('rstd_k', N.times(G)) } : undefined;
    const post = first.postNorm1 ? { out: make('post', N, D), rstd } : undefined;
    embed(p, { ids: this.ids, pieces: parameters.get(names.embed).pieces.map((e) => ({ first: e.first, table: e.value })), x }, spec.embedScale);
    if (names.positions) embedAdd(p, { ids: this.position, table: value(names.positions), x });
    for (let l = 0; l < L; l++) {
      const layer: Layer = { spec, w: names.layers[l]!, l, value, adapter: (name) => adapters?.of(name), lora };
      const { w } = layer;
      const [kc, vc] = [make(`cache.k${l}`, slots * length, G * C), make(`cache.v${l}`, slots * length, G * C)];
      norm(p, layer, w.norm1, w.norm1Bias, { x, y: h, rstd, mean });
      projections(p, layer, { h, q, k, v, qHead, kHead, rope: table, rotary: this.rotary });
      scatterRows(p, { x: k, dst: this.dst, y: kc });
      scatterRows(p, { x: v, dst: this.dst, y: vc });
      attention(p, { q, k: kc, v: vc, span: this.span, position: this.position, o, lse }, attentionOptions(spec, l));
      addToResidual(p, layer, w.o, w.postNorm1, { o, x, y: xmid, post }, w.oBias);
      norm(p, layer, w.norm2, w.norm2Bias, { x: block.parallel ? x : xmid, y: h, rstd, mean });
      mlpInner(p, layer, { h, gate, up, act });
      mlpOutput(p, layer, { act, x: xmid, y: x, post });
    }
    const [last, hidden] = [make('last', S, D), make('hidden', S, D)];
    gatherRows(p, { x, src: this.src, y: last });
    norm(p, { spec, value }, names.norm, names.normBias, { x: last, y: hidden, rstd: make('rstd_last', S), mean: names.normBias ? make('mean_last', S) : undefined });
    this.logits = headTable(parameters).map((piece, i) => {
      const logits = make(`logits${i}`, S, piece.value.shape[0]!);
      matmulNT(p, { x: hidden, w: piece.value, y: logits });
      softCap(p, logits, spec.logitSoftCap);
      return logits;
    });
    this.ring = new ReadbackRing(gpu, this.logits.reduce((n, t) => n + t.bytes, 0), 2);
  }

  async ready(): Promise<this> {
    await Promise.all([this.program.ready(), this.reference?.ready()]);
    this.gpu.check();
    return this;
  }

  /**
   * Answers to all requests, each handed to `done` as it ends. A slot freed by one answer takes the next prompt.
   * @param stopped asked before every pass: true ends the run, leaving the rest unanswered.
   */
  async run(requests: GenerationRequest[], o: SamplingOptions & { maxNewTokens: number; stopIds: Set<number> }, done: (g: Generation) => void, stopped: () => boolean = () => false): Promise<void> {
    const waiting = [...requests];
    const active: Array<{ request: GenerationRequest; ids: number[]; fed: number } | undefined> = new Array(this.slots).fill(undefined);
    for (;;) {
      for (let s = 0; s < this.slots && waiting.length > 0; s++) active[s] ??= { request: waiting.shift()!, ids: [], fed: 0 };
      if (active.every((a) => a === undefined) || stopped()) return;
      // Rows of this pass: each slot's tokens not yet in the cache, whole prompts while they fit.
      const members: number[] = [];
      const rows: Row[] = [];
      const src: number[] = [];
      active.forEach((a, slot) => {
        if (!a) return;
        const all = [...a.request.prompt, ...a.ids];
        // Grown long, a sequence is turned by other angles from its start: the cache is made again, as transformers does for Phi-3.
        if ([this.longFrom, this.reference?.longFrom ?? Infinity].some((from) => all.length > from && a.fed <= from)) a.fed = 0;
        const fresh = all.slice(a.fed);
        if (rows.length + fresh.length > this.rows) return;
        fresh.forEach((id, i) => rows.push({ id, position: a.fed + i, slot, tokens: all.length }));
        a.fed = all.length;
        src.push(rows.length - 1);
        members.push(slot);
      });
      const [logits, other] = await Promise.all([this.pass(rows, src), this.reference?.pass(rows, src)]);
      if (other) logits.forEach((f, m) => realigned(f, other[m]!, this.realign!.lambda));
      members.forEach((slot, m) => {
        const a = active[slot]!;
        const token = sampleToken(logits[m]!, a.request.temperature === undefined ? o : { ...o, temperature: a.request.temperature }, a.request.index, a.ids.length);
        const stop = o.stopIds.has(token);
        if (!stop) a.ids.push(token);
        const full = a.ids.length >= o.maxNewTokens || a.request.prompt.length + a.ids.length >= this.length;
        if (!stop && !full) return;
        done({ index: a.request.index, ids: a.ids, finish: stop ? 'stop' : 'length', ...(stop ? { stopId: token } : {}) });
        active[slot] = undefined;
      });
    }
  }

  /** One forward pass over `rows`; logits of the rows `src`. */
  private async pass(rows: Row[], src: number[]): Promise<Float32Array[]> {
    const column = (f: (r: Row) => number): Uint32Array => Uint32Array.from(rows, f);
    this.ids.write(column((r) => r.id));
    this.position.write(column((r) => r.position));
    if (this.rotary !== this.position) this.rotary.write(column((r) => r.position + (r.tokens > this.longFrom ? this.length : 0)));
    this.dst.write(column((r) => r.slot * this.length + r.position));
    // Keys of a row: its slot's cache up to itself; the second range of a span is left empty.
    this.span.write(Uint32Array.from(rows.flatMap((r, i) => [r.slot * this.length, r.slot * this.length + r.position + 1, i + 1, 0])));
    this.src.write(Uint32Array.from(src));
    const encoder = this.gpu.device.createCommandEncoder({ label: 'generate' });
    this.program.encode(encoder, { N: rows.length, S: src.length });
    const read = this.ring.capture(encoder, this.logits);
    this.gpu.device.queue.submit([encoder.finish()]);
    const buffer = await read();
    const { V } = this.parameters.spec;
    return src.map((_, m) => {
      const row = new Float32Array(V);
      let at = 0;
      let column0 = 0;
      for (const t of this.logits) {
        const width = t.shape[1] as number;
        row.set(new Float32Array(buffer, at + m * width * 4, width), column0);
        column0 += width;
        at += t.bytes;
      }
      return row;
    });
  }
}
