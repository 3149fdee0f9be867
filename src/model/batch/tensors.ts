import { EdpoError } from '../../errors.js';
import type { Gpu } from '../../gpu/device.js';
import { tileCapacity, TILE_WORDS } from '../../gpu/ops/attention_tiles.js';
import { Dyn, Tensor } from '../../gpu/tensor.js';
import { rotaryPositions, type BatchCapacity, type PackedBatch } from './pack.js';

/** The dynamic axes of one capacity; every tensor of a plan shares them. */
export interface BatchAxes {
  N: Dyn;
  S: Dyn;
  Q: Dyn;
  P: Dyn;
  U: Dyn;
}

export function batchAxes(capacity: BatchCapacity): BatchAxes {
  return {
    N: new Dyn('N', capacity.rows),
    S: new Dyn('S', capacity.rows),
    Q: new Dyn('Q', capacity.sequences),
    P: new Dyn('P', capacity.sequences),
    U: new Dyn('U', capacity.rows),
  };
}

/**
 * A micro-batch on the GPU: one upload per micro-batch into a staging tensor, from where each index
 * tensor is copied, so that a step costs one host write whatever the number of tensors.
 */
export class BatchTensors {
  readonly ids: Tensor;
  readonly position: Tensor;
  readonly span: Tensor;
  readonly tiles: Tensor;
  readonly src: Tensor;
  readonly labels: Tensor;
  readonly seqOf: Tensor;
  readonly seqStart: Tensor;
  readonly gatherOffsets: Tensor;
  readonly gatherList: Tensor;
  readonly uniqueIds: Tensor;
  readonly uniqueOffsets: Tensor;
  readonly uniqueRows: Tensor;
  readonly uniquePositions: Tensor;
  readonly positionOffsets: Tensor;
  readonly positionRows: Tensor;
  /** Rows of the rotary tables: the positions, but for long documents of a model with frequencies of their own for those. */
  readonly rotary: Tensor;
  private readonly fields: Array<[keyof PackedBatch, Tensor]>;
  private readonly staging: Tensor;
  private readonly host: Uint32Array;

  /** @param longFrom tokens above which a document is a long one, where that makes a difference. */
  constructor(readonly gpu: Gpu, readonly axes: BatchAxes, private readonly longFrom?: number) {
    const { N, S, Q, U } = axes;
    const u32 = (label: string, shape: ConstructorParameters<typeof Tensor>[2]): Tensor => new Tensor(gpu, label, shape, 'u32');
    this.ids = u32('ids', [N]);
    this.position = u32('position', [N]);
    this.span = u32('span', [N, 4]);
    this.tiles = u32('tiles', [new Dyn('tiles', tileCapacity(N.capacity, Q.capacity)), TILE_WORDS]);
    this.src = u32('src', [S]);
    this.labels = u32('labels', [S]);
    this.seqOf = u32('seq_of', [S]);
    this.seqStart = u32('seq_start', [Q.capacity + 1]);
    this.gatherOffsets = u32('gather_offsets', [N.capacity + 1]);
    this.gatherList = u32('gather_list', [S]);
    this.uniqueIds = u32('unique_ids', [U]);
    this.uniqueOffsets = u32('unique_offsets', [U.capacity + 1]);
    this.uniqueRows = u32('unique_rows', [N]);
    this.uniquePositions = u32('unique_positions', [new Dyn('positions', N.capacity)]);
    this.positionOffsets = u32('position_offsets', [N.capacity + 1]);
    this.positionRows = u32('position_rows', [N]);
    this.rotary = longFrom === undefined ? this.position : u32('rotary', [N]);
    this.fields = [
      ['ids', this.ids], ['position', this.position], ['span', this.span], ['tiles', this.tiles], ['src', this.src], ['labels', this.labels],
      ['seqOf', this.seqOf], ['seqStart', this.seqStart], ['gatherOffsets', this.gatherOffsets], ['gatherList', this.gatherList],
      ['uniqueIds', this.uniqueIds], ['uniqueOffsets', this.uniqueOffsets], ['uniqueRows', this.uniqueRows],
      ['uniquePositions', this.uniquePositions], ['positionOffsets', this.positionOffsets], ['positionRows', this.positionRows],
    ];
    const words = this.fields.reduce((n, [, t]) => n + t.elements, 0);
    this.staging = u32('batch upload', [words]);
    this.host = new Uint32Array(words);
  }

  /** Writes the batch once and encodes the copies; call before the micro-batch's dispatches on the same encoder. */
  upload(encoder: GPUCommandEncoder, batch: PackedBatch): void {
    let at = 0;
    if (this.longFrom !== undefined) this.rotary.write(rotaryPositions(batch, this.longFrom, this.axes.N.capacity));
    const copies: Array<[Tensor, number, number]> = [];
    for (const [name, tensor] of this.fields) {
      const data = batch[name] as Uint32Array;
      if (data.length > tensor.elements) {
        throw new EdpoError(`${tensor.describe()} cannot hold ${data.length} values of this micro-batch`);
      }
      if (data.length === 0) continue;
      this.host.set(data, at);
      copies.push([tensor, at * 4, data.length * 4]);
      at += data.length;
    }
    this.staging.write(this.host.subarray(0, at));
    for (const [tensor, offset, bytes] of copies) encoder.copyBufferToBuffer(this.staging.buffer, offset, tensor.buffer, tensor.place.offset, bytes);
  }

  destroy(): void {
    for (const [, tensor] of this.fields) tensor.destroy();
    this.staging.destroy();
    if (this.rotary !== this.position) this.rotary.destroy();
  }
}
