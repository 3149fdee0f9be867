import type { Gpu } from '../gpu/device.js';
import type { MatrixTile } from '../gpu/matrices.js';
import type { OperandStore } from '../gpu/operand_store.js';
import { adapterBounds, adapterCopies, adapterExtent, adapterScales, adapterTables, copySize, copyStride, writeAdapterTables, type AdapterBound, type AdapterTables } from '../gpu/ops/adapter_operands.js';
import type { Paths } from '../gpu/paths.js';
import type { Program } from '../gpu/program.js';
import { partBytes, Tensor } from '../gpu/tensor.js';
import type { Adapter } from './lora.js';
import type { Parameters, Piece } from './parameters.js';

/** More dropout than this makes of an input more than its scale leaves room for (`FORWARD_TOP` of operands.ts): such adapters multiply in f32. */
const MOST_DROPOUT = 0.75;

/** Do the products of adapters of so much dropout run in matrices, in mixed precision? Of this model's? */
export const multiplyInMatrices = (paths: Paths, dropout: number): boolean => paths.uses('lora_matrices') && dropout <= MOST_DROPOUT;
export const inMatrices = (gpu: Gpu, { adapters }: Parameters): boolean => adapters !== undefined && multiplyInMatrices(gpu, adapters.dropout);

/** What is known at load of what an adapter reads: the largest magnitude, or the norm whose output it is, pairs of its gain and bias [I]. */
export type AdapterInput = { most: number } | { norm: Float32Array };

/** A of one or (of a fused matrix) several adapters, with the slots of its scale, of what it makes of its input (what B multiplies), and of the gradient of that. */
interface InnerSite { adapter: Adapter; weight: string; slot: number; made: number; gradient: number }
/** B, with the slot of its scale. */
interface OuterSite { inner: InnerSite; piece: Piece; weight: string; slot: number }

/** Matrices whose values lie in one buffer and their copies in another, and what the A of them read. */
interface Group { values: Tensor; copies: Tensor; list: AdapterBound[]; inputs: Array<{ at: AdapterBound; slot: number; scale: number }> }

/**
 * LoRA's A and B as operands of the matrix products (mixed precision). They move from zero on, so their scales are no constants: after each optimiser step they follow on the GPU from the values as they
 * stand, so that whatever loads the adapter makes the same of it; so does the scale of u = s·x·Aᵀ, from the most that A can make of its input.
 */
export class AdapterOperands {
  private readonly inner: InnerSite[] = [];
  private readonly outer: OuterSite[] = [];
  private readonly groups: Array<Group & { tables: AdapterTables }> = [];
  private bounds!: Tensor;
  private targets!: Tensor;
  private gains!: Tensor;
  /** Where the gains of a norm's output begin in `gains`, by the slot of the input. */
  private readonly gainAt = new Map<number, number>();
  private readonly owned: Tensor[] = [];

  /** Takes the slots of the forward pass for the adapters on these weights of a model; `next` gives one. */
  constructor(private readonly gpu: Gpu, readonly parameters: Parameters, weights: string[], private readonly next: () => number) {
    for (const weight of weights) {
      const adapter = parameters.adapters!.of(weight);
      if (!adapter) continue;
      let inner = this.inner.find((s) => s.adapter.a === adapter.a);
      if (!inner) this.inner.push((inner = { adapter, weight, slot: next(), made: next(), gradient: -1 }));
      this.outer.push({ inner, piece: adapter.b, weight, slot: next() });
    }
  }

  /** Takes the slots of gradients. */
  addGradients(): void {
    for (const site of this.inner) site.gradient = this.next();
  }

  /** Lays the copies, once the store knows the weights that the adapters are on. @param normed is an input, by its slot, a norm's output? */
  build(store: OperandStore, normed: (input: number) => boolean): void {
    const { tile } = store;
    const base = (weight: string): { input: number; gradient: number } => store.weight(this.parameters.piece(weight).value)!.slots;
    const targets: number[] = [];
    const inputs: Array<[number, number]> = [];
    const matrices = [
      ...this.inner.map((s) => {
        const { input } = base(s.weight);
        if (normed(input) && !this.gainAt.has(input)) {
          this.gainAt.set(input, inputs.reduce((n, [, I]) => n + I, 0));
          inputs.push([input, s.adapter.a.value.shape[1] as number]);
        }
        const bound = targets.push(s.slot, s.made) - 2;
        return { piece: s.adapter.a, bound, input, scale: s.adapter.scale, slots: { weight: s.slot, input, gradient: s.gradient < 0 ? input : s.gradient } };
      }),
      ...this.outer.map((s) => ({ piece: s.piece, bound: targets.push(s.slot) - 1, input: undefined, scale: 1, slots: { weight: s.slot, input: s.inner.made, gradient: base(s.weight).gradient } })),
    ];
    this.targets = this.make('adapter scales’ slots', targets.length);
    this.targets.write(Uint32Array.from(targets));
    this.bounds = this.make('adapter bounds', targets.length);
    this.bounds.write(new Uint32Array(targets.length));
    this.gains = this.make('adapter gains', Math.max(2, 2 * inputs.reduce((n, [, I]) => n + I, 0)), 'f32');
    for (const { members, bytes } of layCopies(matrices.map((m) => ({ ...m, rows: m.piece.value.shape[0] as number, inner: m.piece.value.shape[1] as number })), tile, this.gpu.limits.bindingBytes)) {
      const copies = this.make('f16 adapters', bytes / 4);
      const byBuffer = new Map<GPUBuffer, Group>();
      for (const { of, offset } of members) {
        const { piece: { value, moments }, rows, inner, slots } = of;
        const stride = copyStride(inner, tile);
        const packed = copies.part(`f16 ${value.label}`, [4 * adapterExtent(rows, inner, tile)], offset);
        store.addApart(value, moments?.grad, { packed, rows, inner, stride, slots });
        const group: Group = byBuffer.get(value.buffer) ?? { values: value.whole ?? value, copies, list: [], inputs: [] };
        byBuffer.set(value.buffer, group);
        const at: AdapterBound = { matrix: { offset: value.place.offset / 4, rows, inner, to: offset / 16, stride, slot: slots.weight }, bound: of.bound, ...(of.input === undefined ? {} : { made: { gain: this.gainAt.get(of.input), factor: 1 } }) };
        group.list.push(at);
        if (of.input !== undefined) group.inputs.push({ at, slot: of.input, scale: of.scale });
      }
      for (const group of byBuffer.values()) this.groups.push({ ...group, tables: adapterTables((label, elements) => this.make(label, elements), group.list, tile) });
    }
  }

  private make(label: string, elements: number, type: 'f32' | 'u32' = 'u32'): Tensor {
    const tensor = new Tensor(this.gpu, label, [elements], type);
    this.owned.push(tensor);
    return tensor;
  }

  /** Writes the tables, once the inputs' bounds are known; by the slots of inputs. */
  prepare(inputOf: (slot: number) => AdapterInput, tile: MatrixTile): void {
    for (const [slot, at] of this.gainAt) this.gains.write((inputOf(slot) as { norm: Float32Array }).norm, 2 * at);
    for (const { list, tables, inputs } of this.groups) {
      for (const { at, slot, scale } of inputs) {
        const input = inputOf(slot);
        at.made!.factor = scale * ('most' in input ? input.most : 1);
      }
      writeAdapterTables(tables, list, tile);
    }
  }

  /** Records the scales and the copies of the adapters as they stand. */
  record(p: Program, store: OperandStore): void {
    const { bounds, gains, targets } = this;
    for (const { values, tables } of this.groups) adapterBounds(p, { w: values, tables, gains, bounds });
    adapterScales(p, { targets, bounds, scales: store.scales });
    for (const { values, copies, tables } of this.groups) adapterCopies(p, { w: values, tables, scales: store.scales, packed: copies }, store.tile);
  }

  get rank(): number {
    return this.parameters.adapters!.rank;
  }
  get bytes(): number {
    return this.owned.reduce((n, t) => n + t.bytes, 0);
  }
}

/** Copies behind one another, in buffers of at most `most` bytes: whole extents, of which only the last one's is room of its own. */
export function layCopies<T extends { rows: number; inner: number }>(list: T[], tile: MatrixTile, most: number): Array<{ bytes: number; members: Array<{ of: T; offset: number }> }> {
  const buffers: Array<{ bytes: number; next: number; members: Array<{ of: T; offset: number }> }> = [];
  for (const of of list) {
    const size = partBytes(16 * copySize(of.rows, of.inner, tile));
    const extent = partBytes(16 * adapterExtent(of.rows, of.inner, tile));
    let last = buffers.at(-1);
    if (!last || last.next + extent > most) buffers.push((last = { bytes: 0, next: 0, members: [] }));
    last.members.push({ of, offset: last.next });
    last.bytes = Math.max(last.bytes, last.next + Math.max(size, extent));
    last.next += size;
  }
  return buffers;
}
