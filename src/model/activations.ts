import type { Gpu } from '../gpu/device.js';
import { headBytes } from '../gpu/ops/attention_matrix.js';
import { packedBytes, type HeadOperands } from '../gpu/ops/operand_layout.js';
import { halfRows, packRows, unpackRows, type HalfFormat, type HalfRows } from '../gpu/ops/pack_rows.js';
import { GAIN_ROWS } from '../gpu/ops/column_sums.js';
import type { Program } from '../gpu/program.js';
import { capacityOf, Tensor, type Extent } from '../gpu/tensor.js';
import type { BatchAxes } from './batch/tensors.js';
import type { ModelSpec } from './families/spec.js';
import type { Adapters, LoraScratch } from './lora.js';
import type { HeadNormTensors, NormTensors, PostNormTensors } from './layer.js';
import { ALL_IN_F32, scratchTensor, type OperandTensors } from './operand_tensors.js';
import { rotaryRows, rotaryTables, rotaryWidth } from './rotary.js';

/**
 * What the forward pass keeps: `train` everything the backward pass reads, per layer; `mlp` all but the MLP's own, which is made again from its input;
 * `checkpoint` only each layer's input, the rest made again; `forward` nothing beyond the layer at work (evaluation, reference).
 */
export type KeepMode = 'train' | 'mlp' | 'checkpoint' | 'forward';

/**
 * How what is kept beside the residual stream and the norms' numbers lies between the passes: q, k, v, o, gate, up and what their norms read. The forward pass
 * itself computes with f32, so only gradients see the rounding.
 */
export type KeepFormat = 'float32' | HalfFormat;

/** Which halves of its layers a mode keeps. */
export const keepsAttention = (keep: KeepMode): boolean => keep === 'train' || keep === 'mlp';
export const keepsMlp = (keep: KeepMode): boolean => keep === 'train';

/** Kept by one layer. q, o [N, H*C]; k, v [N, G*C]; lse [N, H]; xmid [N, D]; gate, up [N, F]. */
export interface LayerActivations {
  norm1: NormTensors;
  /** In mixed precision what attention multiplies of q, k and v, and all that is kept of them: they themselves are then scratch. */
  operands: HeadOperands | undefined;
  q: Tensor;
  k: Tensor;
  v: Tensor;
  o: Tensor;
  lse: Tensor;
  xmid: Tensor;
  norm2: NormTensors;
  /** Absent where the MLP has no gate. */
  gate: Tensor | undefined;
  up: Tensor;
  /** Where the family has norms of query and key heads, or after attention and MLP. */
  qHead: HeadNormTensors | undefined;
  kHead: HeadNormTensors | undefined;
  post1: PostNormTensors | undefined;
  post2: PostNormTensors | undefined;
}

/** All activations of one plan, allocated once. */
export class Activations {
  /** Scratch shared by layers: norm output [N, D] and MLP product [N, F]; a name alone where either stands as a packed operand. */
  readonly h: Tensor;
  readonly act: Tensor;
  /** Residual states and final-norm states of the scored rows [S, D], and what the norm keeps. */
  readonly gathered: Tensor;
  readonly hidden: Tensor;
  readonly normFinal: NormTensors;
  /** Where there are adapters. */
  readonly lora: LoraScratch | undefined;
  /** Rotary tables; undefined with learned positions. */
  readonly rope: Tensor | undefined;
  private readonly residual: Tensor[];
  private readonly layers: LayerActivations[];
  /** Per layer what is packed between the passes, and where it is unpacked to. */
  private readonly packed: Array<Array<{ at: Tensor; rows: HalfRows }>> = [];
  private readonly all: Tensor[] = [];

  constructor(gpu: Gpu, spec: ModelSpec, axes: BatchAxes, readonly keep: KeepMode, label = 'policy', adapters?: Pick<Adapters, 'rank' | 'dropout'>, format: KeepFormat = 'float32', alone: OperandTensors = ALL_IN_F32) {
    const { D, H, G, C, F, L } = spec;
    const { N, S } = axes;
    const names = spec.names.layers[0]!;
    const allot = (name: string, shape: Extent[], operandAlone: boolean): Tensor => {
      const tensor = scratchTensor(gpu, `${label}.${name}`, shape, operandAlone);
      this.all.push(tensor);
      return tensor;
    };
    const make = (name: string, ...shape: Extent[]): Tensor => allot(name, shape, false);
    this.h = allot('h', [N, D], alone.h);
    this.act = allot('act', [N, F], alone.act);
    this.gathered = make('gathered', S, D);
    this.hidden = make('hidden', S, D);
    const norm = (name: string, rows: Extent, bias: string | undefined): NormTensors => ({ rstd: make(`rstd${name}`, rows), mean: bias ? make(`mean${name}`, rows) : undefined });
    this.normFinal = norm('_final', S, spec.names.normBias);
    if (adapters) {
      const dropout = adapters.dropout > 0 && keep !== 'forward' ? { keys: new Tensor(gpu, `${label}.row_keys`, [N], 'u32'), dropped: make('dropped', N, Math.max(D, H * C, F)) } : undefined;
      if (dropout) this.all.push(dropout.keys);
      const packed = alone.u ? make('lora_f16', packedBytes(N.capacity, adapters.rank, gpu.mixed!) / 4) : undefined;
      this.lora = { u: allot('lora', [N, adapters.rank], alone.u), packed, dropout };
    }
    const R = rotaryWidth(spec);
    if (R > 0) {
      this.rope = make('rope', rotaryRows(spec, N.capacity), R);
      this.rope.write(rotaryTables(spec, N.capacity));
    }
    this.residual = Array.from({ length: keep === 'forward' ? 2 : L + 1 }, (_, l) => make(`x${l}`, N, D));
    const half = format === 'float32' ? undefined : format;
    const shared = new Map<string, Tensor>();
    const once = (name: string, shape: Extent[], operandAlone = false): Tensor => shared.get(name) ?? shared.set(name, allot(name, shape, operandAlone)).get(name)!;
    this.layers = Array.from({ length: keepsAttention(keep) ? L : 1 }, (_, l) => {
      const packed: Array<{ at: Tensor; rows: HalfRows }> = [];
      this.packed.push(packed);
      // `own` is the layer's where its half is kept; `wide` is what may be packed between the passes; `heads` what may be kept as an operand alone, `operand` that.
      const part = (keeps: boolean) => {
        const own = (name: string, ...shape: Extent[]): Tensor => (keeps ? make(`L${l}.${name}`, ...shape) : once(name, shape));
        const wide = (name: string, I: number): Tensor => {
          if (!keeps || !half) return keeps ? make(`L${l}.${name}`, N, I) : once(name, [N, I]);
          const at = once(name, [N, I]);
          const rows = halfRows(gpu, `${label}.L${l}.${name}`, N, I, half);
          this.all.push(rows.y, ...(rows.back ? [rows.back] : []));
          packed.push({ at, rows });
          return at;
        };
        const heads = (name: 'q' | 'k' | 'v', n: number): Tensor => (alone.heads ? once(name, [N, n * C], alone[name]) : wide(name, n * C));
        const operand = (name: string, n: number): Tensor => own(`${name}_f16`, headBytes(N.capacity, n, C, gpu.mixed!) / 4);
        return { own, wide, heads, operand };
      };
      const [attention, mlp] = [part(keepsAttention(keep)), part(keepsMlp(keep))];
      const inner = (name: 'gate' | 'up'): Tensor => (keep === 'forward' && alone.gateUp ? once(name, [N, F], true) : mlp.wide(name, F));
      return {
        norm1: { rstd: attention.own('rstd1', N), mean: names.norm1Bias ? attention.own('mean1', N) : undefined },
        operands: alone.heads ? { q: attention.operand('q', H), k: attention.operand('k', G), v: attention.operand('v', G) } : undefined,
        q: attention.heads('q', H),
        k: attention.heads('k', G),
        v: attention.heads('v', G),
        o: attention.wide('o', H * C),
        lse: attention.own('lse', N, H),
        xmid: attention.own('xmid', N, D),
        norm2: { rstd: mlp.own('rstd2', N), mean: names.norm2Bias ? mlp.own('mean2', N) : undefined },
        gate: names.gate ? inner('gate') : undefined,
        up: inner('up'),
        qHead: names.qNorm ? { raw: attention.wide('q_raw', H * C), rstd: attention.own('rstd_q', N.times(H)) } : undefined,
        kHead: names.kNorm ? { raw: attention.wide('k_raw', G * C), rstd: attention.own('rstd_k', N.times(G)) } : undefined,
        post1: names.postNorm1 ? { out: attention.wide('attention_out', D), rstd: attention.own('rstd_post1', N) } : undefined,
        post2: names.postNorm2 ? { out: mlp.wide('mlp_out', D), rstd: mlp.own('rstd_post2', N) } : undefined,
      };
    });
  }

  /** After layer l's forward pass: packs what is kept packed. */
  store(p: Program, l: number): void {
    for (const { at, rows } of this.packed[l] ?? []) packRows(p, at, rows);
  }
  /** Before layer l's backward pass: unpacks it. */
  restore(p: Program, l: number): void {
    for (const { at, rows } of this.packed[l] ?? []) unpackRows(p, rows, at);
  }

  get checkpointed(): boolean {
    return this.keep === 'checkpoint';
  }
  /** Residual stream entering layer l; x(L) leaves the last one. */
  x(l: number): Tensor {
    return this.residual[this.keep === 'forward' ? l % 2 : l]!;
  }
  layer(l: number): LayerActivations {
    return this.layers[keepsAttention(this.keep) ? l : 0]!;
  }
  get bytes(): number {
    return this.all.reduce((n, t) => n + t.bytes, 0);
  }
  destroy(): void {
    for (const t of this.all) t.destroy();
  }
}

/** Scratch of the backward pass, one set for all layers. */
export class BackwardScratch {
  readonly dx: Tensor;
  readonly dh: Tensor;
  readonly dact: Tensor;
  readonly dgate: Tensor | undefined;
  readonly dup: Tensor;
  readonly do: Tensor;
  readonly delta: Tensor;
  readonly dq: Tensor;
  readonly dk: Tensor;
  readonly dv: Tensor;
  readonly dHidden: Tensor;
  readonly dGathered: Tensor;
  /** Flat; `partialOf` shapes it. */
  private readonly partial: Tensor;
  readonly dPost: Tensor | undefined;
  /** Of a parallel block: the gradient of its sum, while dx already takes in what flows to its input. */
  readonly dBlock: Tensor | undefined;
  readonly dqRaw: Tensor | undefined;
  readonly dkRaw: Tensor | undefined;
  private readonly all: Tensor[] = [];

  constructor(gpu: Gpu, spec: ModelSpec, axes: BatchAxes, alone: OperandTensors = ALL_IN_F32) {
    const { D, H, G, C, F } = spec;
    const { N, S } = axes;
    const make = (name: string, ...shape: Extent[]): Tensor => {
      const tensor = scratchTensor(gpu, name, shape, alone[name as keyof OperandTensors]);
      this.all.push(tensor);
      return tensor;
    };
    this.dx = make('dx', N, D);
    this.dh = make('dh', N, D);
    this.dact = make('dact', N, F);
    this.dup = make('dup', N, F);
    this.do = make('do', N, H * C);
    this.delta = make('delta', N, H);
    this.dq = make('dq', N, H * C);
    this.dk = make('dk', N, G * C);
    this.dv = make('dv', N, G * C);
    this.dHidden = make('dhidden', S, D);
    this.dGathered = make('dgathered', S, D);
    const blocks = (rows: number): number => Math.ceil(rows / GAIN_ROWS);
    const names = spec.names.layers[0]!;
    if (names.gate) this.dgate = make('dgate', N, F);
    if (spec.block.parallel) this.dBlock = make('dblock', N, D);
    this.partial = make('dgain_partial', Math.max(blocks(N.capacity) * D, names.qBias ? blocks(N.capacity) * H * C : 0, names.upBias ? blocks(N.capacity) * F : 0, names.qNorm ? blocks(N.capacity * H) * C : 0));
    if (names.postNorm1) this.dPost = make('dpost', N, D);
    if (names.qNorm) [this.dqRaw, this.dkRaw] = [make('dq_raw', N, H * C), make('dk_raw', N, G * C)];
  }
  /** Scratch for column sums over `rows` rows of `width`: [blocks, width]. */
  partialOf(rows: Extent, width: number): Tensor {
    return this.partial.as([Math.ceil(capacityOf(rows) / GAIN_ROWS), width]);
  }

  get bytes(): number {
    return this.all.reduce((n, t) => n + t.bytes, 0);
  }
  destroy(): void {
    for (const t of this.all) t.destroy();
  }
}
