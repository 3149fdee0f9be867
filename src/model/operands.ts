import { EdpoError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import type { MatrixTile } from '../gpu/matrices.js';
import { OperandStore } from '../gpu/operand_store.js';
import { PackedTensor } from '../gpu/packed.js';
import { matrixAttention } from '../gpu/ops/attention_matrix_tile.js';
import { LOSS_SCALE, updateOperandScales } from '../gpu/ops/operand_scales.js';
import { Program } from '../gpu/program.js';
import { debugRead } from '../gpu/readback.js';
import { Tensor } from '../gpu/tensor.js';
import { AdapterOperands, inMatrices } from './adapter_operands.js';
import type { ModelSpec } from './families/spec.js';
import { fixScales, type OperandInput, type OperandSite } from './operand_bounds.js';
import { DIRECT_ROWS, scratchSizes, unpackedRoom } from './operand_sizes.js';
import { layerWeights, operandTensorsOf } from './operand_tensors.js';
import type { Parameters } from './parameters.js';

/** Attention in matrices: a layer's queries, keys, values (scaled as what attention makes of them), and the slots of two gradients. */
interface AttentionSite {
  parameters: Parameters;
  /** Its query weight. */
  query: string;
  q: number;
  k: number;
  v: number;
  dout: number;
  ds: number;
}

/** How much larger than either of a pair turning by positions may make the other: the diagonal of a square, times the tables' own factor. */
const turning = ({ block }: ModelSpec): number => Math.max(1, ...block.position.rotary.map((r) => Math.SQRT2 * r.scale));

/** A running state of mixed precision, as a checkpoint holds it. */
export interface OperandState {
  scales: number[];
  running: number[];
  lossScale: number[];
}

/**
 * Mixed precision (design 6): f16 operands of every product with a weight matrix of these models, each times a power of two. Scales of the forward pass are fixed at load
 * from what the weights can do, so that a row's bits depend on that row alone; those of adapters follow from the adapters as they stand; scales of gradients follow their running maxima.
 */
export class Operands {
  readonly store: OperandStore;
  private readonly sites: OperandSite[] = [];
  private readonly inputs: OperandInput[] = [];
  private readonly attentions: AttentionSite[] = [];
  /** Of the models whose adapters multiply in matrices. */
  private readonly adapted: AdapterOperands[] = [];
  private readonly firstGradient: number;
  private readonly running: Tensor | undefined;
  private readonly packing: Program;

  /**
   * @param models the policy, and what of the reference multiplies on the GPU (its head alone, or all of it)
   * @param training gradients of the first model are packed too
   */
  constructor(readonly gpu: Gpu, readonly tile: MatrixTile, models: Parameters[], o: { rows: number; headTile: number; states: number; training: boolean }) {
    let slots = 0;
    const distinct = [...new Set(models)];
    const whole = distinct.filter((m) => m.has(m.spec.names.layers[0]!.q));
    for (const parameters of distinct) slots = this.describe(parameters, slots);
    for (const parameters of distinct.filter((m) => inMatrices(gpu, m))) this.adapted.push(new AdapterOperands(gpu, parameters, this.sites.filter((s) => s.parameters === parameters).map((s) => s.name), () => slots++));
    this.firstGradient = slots;
    for (const site of this.sites) site.gradient = o.training && site.parameters === distinct[0] ? slots++ : site.input;
    if (o.training) for (const a of this.attentions.filter((x) => x.parameters === distinct[0])) [a.dout, a.ds] = [slots++, slots++];
    if (o.training) for (const a of this.adapted.filter((x) => x.parameters === distinct[0])) a.addGradients();
    const frozen = this.sites.flatMap(({ parameters, name }) => parameters.get(name).pieces.flatMap(({ value }) => (value instanceof PackedTensor ? [{ rows: value.shape[0] as number, inner: value.shape[1] as number, table: parameters.get(name).table }] : [])));
    const room = o.rows > DIRECT_ROWS || !gpu.uses('quantised_operands') ? unpackedRoom(frozen, o.headTile, tile) : 0;
    const alone = whole.map((m) => operandTensorsOf(gpu, m));
    this.store = new OperandStore(gpu, tile, slots, scratchSizes(models[0]!.spec, o.rows, Math.min(o.headTile, models[0]!.spec.V), o.states, tile, o.training, { heads: alone.every((m) => m.heads), dact: alone[0]?.dact ?? false }, gpu.uses('lora_operands') ? 0 : Math.max(0, ...this.adapted.map((a) => a.rank))), o.training, room);
    for (const { parameters, name, weight, input, gradient } of this.sites) {
      for (const { value, moments } of parameters.get(name).pieces) this.store.add(value, moments?.grad, { weight, input, gradient });
    }
    for (const a of this.adapted) a.build(this.store, (slot) => this.inputs.some((i) => i.slot === slot && i.norm !== undefined));
    for (const { parameters, query, ...slots } of this.attentions) this.store.addAttention(parameters.piece(query).value, slots);
    if (o.training) {
      this.running = new Tensor(gpu, 'operand maxima', [slots]);
      this.restore({ scales: new Array<number>(slots).fill(1), running: new Array<number>(slots).fill(0), lossScale: [LOSS_SCALE.start, 0, 0, 0] });
    }
    this.packing = new Program(gpu, 'f16 weights');
    for (const parameters of distinct) this.pack(this.packing, parameters);
  }

  /** Lists the weights and inputs of a model, slots from `next` on; returns the next free one. */
  private describe(parameters: Parameters, next: number): number {
    const { spec } = parameters;
    const { names } = spec;
    const site = (name: string, input: number, norm?: OperandSite['norm']): OperandSite => {
      const made: OperandSite = { parameters, name, weight: next++, input, gradient: -1, norm };
      this.sites.push(made);
      return made;
    };
    const input = (of: Omit<OperandInput, 'slot' | 'parameters'>): number => {
      this.inputs.push({ ...of, slot: next, parameters });
      return next++;
    };
    const inMatrices = matrixAttention(spec.C, this.tile);
    for (const w of names.layers) {
      if (!layerWeights(w).every((name) => parameters.has(name))) continue;
      const norm1 = { gain: w.norm1, bias: w.norm1Bias };
      const norm2 = { gain: w.norm2, bias: w.norm2Bias };
      const h = input({ norm: norm1 });
      const [q, k, v] = [site(w.q, h, norm1), site(w.k, h, norm1), site(w.v, h, norm1)];
      const made = input({ of: [{ site: v, bias: w.vBias }] });
      site(w.o, made);
      if (inMatrices) {
        const turned = (of: OperandSite, bias: string | undefined, head: string | undefined): number => input({ ...(head ? { head } : { of: [{ site: of, bias }] }), times: turning(spec) });
        this.attentions.push({ parameters, query: w.q, q: turned(q, w.qBias, w.qNorm), k: turned(k, w.kBias, w.kNorm), v: made, dout: made, ds: made });
      }
      const h2 = input({ norm: norm2 });
      const gate = w.gate ? site(w.gate, h2, norm2) : undefined;
      const up = site(w.up, h2, norm2);
      // |act(x)| <= |x| for SiLU and GELU alike.
      site(w.down, input({ of: [{ site: up, bias: w.upBias }, ...(gate ? [{ site: gate, bias: undefined }] : [])] }));
    }
    const head = spec.tied ? names.embed : names.head;
    // A reference's head alone comes without the norm: its states are cached ones, of the same scale as the policy's.
    if (parameters.has(head)) {
      const last = { gain: names.norm, bias: names.normBias };
      const shared = parameters.has(names.norm) ? undefined : this.sites.find((s) => s.name === head)?.input;
      site(head, shared ?? input(parameters.has(names.norm) ? { norm: last } : {}), undefined);
    }
    return next;
  }

  /** Records making the f16 copies of a model's weights (after AdamW, after the reference moved). */
  pack(p: Program, parameters: Parameters): void {
    const mine = this.sites.filter((s) => s.parameters === parameters);
    this.store.pack(p, mine.flatMap((s) => s.parameters.get(s.name).pieces.map((piece) => piece.value)));
    this.packAdapters(p, parameters);
  }

  private packAdapters(p: Program, parameters: Parameters): void {
    for (const a of this.adapted) if (a.parameters === parameters) a.record(p, this.store);
  }

  /** Makes all f16 copies from the weights as they stand. */
  async repack(): Promise<void> {
    await this.packing.submit();
  }

  /** Fixes the scales of weights and forward operands from the weights, and makes the copies; of adapters what their scales follow from. Call once the weights are loaded. */
  async prepare(): Promise<void> {
    const known = await fixScales(this.gpu, this.store.scales, this.sites, this.inputs, this.adapted.length > 0);
    for (const a of this.adapted) a.prepare((slot) => known.get(slot)!, this.tile);
    await this.repack();
  }

  /** Records what follows an optimiser step: the loss scale, the gradients' scales, the trained weights' copies, adapters' scales and copies. */
  recordStep(p: Program, stepState: Tensor, policy: Parameters): void {
    const { scales, peaks, lossScale } = this.store;
    updateOperandScales(p, { stepState, scales, running: this.running!, peaks: peaks!, lossScale: lossScale! }, this.firstGradient);
    const moved = this.sites.filter((s) => s.parameters === policy).flatMap((s) => s.parameters.get(s.name).pieces).filter((piece) => piece.moments);
    this.store.pack(p, moved.map((piece) => piece.value));
    this.packAdapters(p, policy);
  }

  /** [4]: the loss scale and its clean steps; read with every step. */
  get lossScale(): Tensor | undefined {
    return this.store.lossScale;
  }

  async state(): Promise<OperandState> {
    const [scales, running, lossScale] = await Promise.all([this.store.scales, this.running!, this.store.lossScale!].map((t) => debugRead(t)));
    return { scales: [...scales!], running: [...running!], lossScale: [...lossScale!] };
  }

  /** Puts a checkpoint's state back; `repack` makes the copies of its weights. */
  restore(s: OperandState): void {
    if (s.scales.length !== this.store.scales.elements) throw new EdpoError(`the checkpoint has ${s.scales.length} scales of f16 operands, this run ${this.store.scales.elements}`, { hint: 'it was made by another version of edpo: start from its weights, without --resume' });
    this.store.scales.write(Float32Array.from(s.scales));
    this.running!.write(Float32Array.from(s.running));
    this.store.peaks!.write(new Uint32Array(s.scales.length));
    this.store.lossScale!.write(Float32Array.from(s.lossScale));
  }

  get bytes(): number {
    return this.store.bytes + this.adapted.reduce((n, a) => n + a.bytes, 0) + (this.running?.bytes ?? 0);
  }
}
