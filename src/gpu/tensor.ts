import { EdpoError } from '../errors.js';
import type { Gpu } from './device.js';

/** A size known only when a step is encoded (rows of this micro-batch, say), at most `capacity`: the named value times `factor`. */
export class Dyn {
  constructor(
    readonly name: string,
    readonly capacity: number,
    readonly factor = 1,
  ) {}

  /** An axis of `n` rows for each of this one's. */
  times(n: number): Dyn {
    return new Dyn(this.name, this.capacity * n, this.factor * n);
  }
}

/** One axis of a tensor: a fixed size, or a dynamic one whose buffer holds the capacity. */
export type Extent = number | Dyn;
export type ElementType = 'f32' | 'u32' | 'i32';

export const capacityOf = (e: Extent): number => (typeof e === 'number' ? e : e.capacity);
const show = (e: Extent): string => (typeof e === 'number' ? String(e) : `${e.name}<=${e.capacity}`);

/** Where a tensor lies: bytes of a buffer. One object for each tensor, whatever shapes it is seen in. */
export interface Place {
  readonly buffer: GPUBuffer;
  readonly offset: number;
  readonly bytes: number;
}

/** Have two places a byte in common? */
export const overlap = (a: Place, b: Place): boolean => a.buffer === b.buffer && a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;

/** Offsets of parts are multiples of this: the most that WebGPU lets an adapter ask for, so that a layout is the same on all. */
export const PART_ALIGN = 256;
/** Bytes up to where the next part may begin. */
export const partBytes = (bytes: number): number => Math.ceil(bytes / PART_ALIGN) * PART_ALIGN;

/** A GPUBuffer, or a part of one, with a shape (row-major, outermost first, 4-byte elements) and a label. */
export class Tensor {
  readonly place: Place;
  readonly bytes: number;
  /** What this is a part of. */
  readonly whole: Tensor | undefined;
  constructor(
    readonly gpu: Gpu,
    readonly label: string,
    readonly shape: readonly Extent[],
    readonly type: ElementType = 'f32',
    /** What the buffer takes, where elements are not 4 bytes each (`PackedTensor`). */
    bytes = shape.reduce<number>((n, e) => n * capacityOf(e), 4),
  ) {
    this.bytes = Math.max(4, bytes);
    if (this.bytes > gpu.limits.bindingBytes) {
      throw new EdpoError(
        `${this.describe()} takes ${this.bytes} bytes; this adapter binds at most ${gpu.limits.bindingBytes}`,
        { hint: 'lower --token_budget' },
      );
    }
    this.place = { buffer: gpu.createBuffer(this.describe(), this.bytes), offset: 0, bytes: this.bytes };
  }

  get buffer(): GPUBuffer {
    return this.place.buffer;
  }

  /** What a bind group takes. Kernels read elements by fours, so it ends with a whole four. */
  get binding(): GPUBufferBinding {
    const { buffer, offset, bytes } = this.place;
    return this.whole ? { buffer, offset, size: Math.ceil(bytes / 16) * 16 } : { buffer };
  }

  get elements(): number {
    return this.bytes / 4;
  }

  /** The same buffer seen as one axis at full capacity: element-wise kernels want no more. */
  flat(): Tensor {
    const view = Object.create(this) as { shape: readonly Extent[] };
    view.shape = [this.elements];
    return view as Tensor;
  }

  /** The same buffer under another shape, from its start. */
  as(shape: readonly Extent[]): Tensor {
    const elements = shape.reduce<number>((n, e) => n * capacityOf(e), 1);
    if (elements > this.elements) throw new EdpoError(`${this.describe()} has no room for [${shape.map(show).join(', ')}]`);
    const view = Object.create(this) as { shape: readonly Extent[] };
    view.shape = shape;
    return view as Tensor;
  }

  /** A tensor of its own in this one's buffer, from `offset` bytes on, a multiple of PART_ALIGN. It goes when this one does. */
  part(label: string, shape: readonly Extent[], offset: number): Tensor {
    const bytes = shape.reduce<number>((n, e) => n * capacityOf(e), 4);
    if (offset % PART_ALIGN !== 0 || offset + bytes > this.bytes) throw new EdpoError(`${label} [${shape.map(show).join(', ')}] does not fit ${this.describe()} at byte ${offset}`);
    const { buffer, offset: from } = this.place;
    const view = Object.create(this) as { -readonly [K in 'label' | 'shape' | 'bytes' | 'place' | 'whole']: Tensor[K] };
    return Object.assign(view, { label, shape, bytes, place: { buffer, offset: from + offset, bytes }, whole: this.whole ?? this }) as unknown as Tensor;
  }

  describe(): string {
    return `${this.label} [${this.shape.map(show).join(', ')}]`;
  }

  /** Uploads from the start of the tensor (or from `elementOffset`). */
  write(data: Float32Array | Uint32Array | Int32Array, elementOffset = 0): void {
    if ((elementOffset + data.length) * 4 > this.bytes) {
      throw new EdpoError(`${this.describe()}: ${data.length} elements at ${elementOffset} do not fit`);
    }
    // Dawn stages a large write in one piece; slices keep its ring of staging memory small.
    const slice = 1 << 20;
    for (let at = 0; at < data.length; at += slice) {
      const part = data.subarray(at, Math.min(data.length, at + slice));
      this.gpu.device.queue.writeBuffer(
        this.buffer,
        this.place.offset + (elementOffset + at) * 4,
        part.buffer as ArrayBuffer,
        part.byteOffset,
        part.byteLength,
      );
    }
  }

  destroy(): void {
    if (!this.whole) this.gpu.destroyBuffer(this.buffer, this.bytes);
  }
}

/** A name and a shape for what stands as a packed operand alone (mixed precision): its buffer holds nothing and no kernel may bind it. */
export class OperandTensor extends Tensor {
  constructor(gpu: Gpu, label: string, shape: readonly Extent[]) {
    super(gpu, label, shape, 'f32', 4);
  }
}
