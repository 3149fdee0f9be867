import { EdpoError } from '../errors.js';
import type { Gpu } from './device.js';
import { packedBytes, padded, type AttentionSlots, type MatrixOperands, type MatrixWeight } from './ops/operand_layout.js';
import { packWeight } from './ops/pack_weights.js';
import type { MatrixTile } from './matrices.js';
import { PackedTensor } from './packed.js';
import type { Program } from './program.js';
import { Tensor, type Place } from './tensor.js';

/** How often one size of packed operand may be wanted at the same time, and its bytes. */
export interface ScratchSize {
  bytes: number;
  count: number;
}

/** f16 copies of weights, the scales of all operands, and room for packed operands: what `Program.mixed` takes. */
export class OperandStore implements MatrixOperands {
  readonly scales: Tensor;
  readonly peaks: Tensor | undefined;
  readonly lossScale: Tensor | undefined;
  readonly room: Tensor | undefined;
  private readonly byPlace = new Map<Place, MatrixWeight>();
  private readonly attentions = new Map<Place, AttentionSlots>();
  /** Least recently used first, smallest size first. */
  private readonly pool: Tensor[];
  private readonly owned: Tensor[] = [];

  /**
   * @param gradients whether gradients are packed too: their magnitudes are watched then
   * @param room bytes for one frozen weight unpacked at a time; 0: products read them as they are kept
   */
  constructor(readonly gpu: Gpu, readonly tile: MatrixTile, slots: number, sizes: ScratchSize[], gradients: boolean, room = 0) {
    const make = (label: string, elements: number, type: 'f32' | 'u32' = 'f32'): Tensor => {
      const tensor = new Tensor(gpu, label, [elements], type);
      this.owned.push(tensor);
      return tensor;
    };
    this.scales = make('operand scales', slots);
    this.scales.write(new Float32Array(slots).fill(1));
    if (gradients) {
      this.peaks = make('operand peaks', slots, 'u32');
      this.peaks.write(new Uint32Array(slots));
      this.lossScale = make('loss scale', 4);
    }
    if (room > 0) this.room = make('unpacked weight', room / 4, 'u32');
    this.pool = sizes.flatMap(({ bytes, count }) => Array.from({ length: count }, (_, i) => make(`packed operand ${i}`, bytes / 4, 'u32')));
  }

  /** Makes room for the f16 copy of a weight [rows, inner], unless it is frozen in 16 bits or fewer; products find it by the weight's value or its gradient. */
  add(value: Tensor, gradient: Tensor | undefined, slots: MatrixWeight['slots']): MatrixWeight {
    const known = this.byPlace.get(value.place);
    if (known) return known;
    const [rows, inner] = value.shape as [number, number];
    const packed = value instanceof PackedTensor ? value : new Tensor(this.gpu, `f16 ${value.label}`, [packedBytes(rows, inner, this.tile) / 4], 'u32');
    if (packed !== value) this.owned.push(packed);
    const weight = { packed, rows, inner, stride: padded(inner, this.tile) / 8, slots };
    this.byPlace.set(value.place, weight);
    if (gradient) this.byPlace.set(gradient.place, weight);
    return weight;
  }

  /** Names a copy that is kept, and made, elsewhere. */
  addApart(value: Tensor, gradient: Tensor | undefined, weight: Omit<MatrixWeight, 'apart'>): void {
    const apart = { ...weight, apart: true };
    this.byPlace.set(value.place, apart);
    if (gradient) this.byPlace.set(gradient.place, apart);
  }

  weight(of: Tensor): MatrixWeight | undefined {
    return this.byPlace.get(of.place);
  }

  /** Names the scales of a layer's attention, found by its query weight; where two models share that, the first one's. */
  addAttention(queryWeight: Tensor, slots: AttentionSlots): void {
    if (!this.attentions.has(queryWeight.place)) this.attentions.set(queryWeight.place, slots);
  }
  attention(queryWeight: Tensor): AttentionSlots | undefined {
    return this.attentions.get(queryWeight.place);
  }

  scratch(bytes: number, busy: GPUBuffer[]): Tensor {
    const free = this.pool.filter((t) => t.bytes >= bytes && !busy.includes(t.buffer));
    const least = Math.min(...free.map((t) => t.bytes));
    const at = this.pool.findIndex((t) => t.bytes === least && free.includes(t));
    if (at < 0) throw new EdpoError(`no room for a packed operand of ${bytes} bytes`);
    const [tensor] = this.pool.splice(at, 1);
    this.pool.push(tensor!);
    return tensor!;
  }

  fits(sizes: number[], busy: GPUBuffer[]): boolean {
    const free = this.pool.filter((t) => !busy.includes(t.buffer)).map((t) => t.bytes);
    return sizes.every((bytes) => {
      const least = Math.min(...free.filter((room) => room >= bytes));
      return Number.isFinite(least) && free.splice(free.indexOf(least), 1).length === 1;
    });
  }

  touch(packed: Tensor): void {
    const at = this.pool.findIndex((t) => t.place === packed.place);
    if (at >= 0) this.pool.push(...this.pool.splice(at, 1));
  }

  /** Records making the copies of these weights from their f32 values. */
  pack(p: Program, values: Tensor[]): void {
    for (const value of values) {
      const weight = this.weight(value);
      if (weight) packWeight(p, value, weight, this);
    }
  }

  get bytes(): number {
    return this.owned.reduce((n, t) => n + t.bytes, 0);
  }
  destroy(): void {
    for (const t of this.owned) t.destroy();
  }
}
