import type { Gpu } from '../gpu/device.js';
import { clearTensor } from '../gpu/program.js';
import { debugRead } from '../gpu/readback.js';
import { bytesOf, PackedTensor } from '../gpu/packed.js';
import { Tensor } from '../gpu/tensor.js';
import { layArenas, type ArenaGroup } from './arena.js';
import { parameterSpecs, type ModelSpec, type ParameterSpec } from './families/spec.js';
import type { Adapters } from './lora.js';
import { fillTensor, readTensor } from './packing/packed.js';
import { IN_F32, type Storage } from './storage.js';

/** What a trained value has beside it; absent for a frozen model. What an optimiser keeps is in `optim/state.ts`. */
export interface Moments {
  grad: Tensor;
}

/** One GPU tensor of a parameter: the whole of it, or one piece (rows `first` ...) of a vocabulary table. */
export interface Piece {
  first: number;
  value: Tensor;
  moments: Moments | undefined;
}

export interface Parameter extends ParameterSpec {
  pieces: Piece[];
}

/** Small trained parameters whose values are parts of one tensor, and their gradients of another. Flat, in f32. */
export interface Arena {
  group: ArenaGroup;
  value: Tensor;
  grad: Tensor;
  /** In the order they lie. */
  members: Parameter[];
}

/** Rows of each piece of a table [V, D] so that a piece stays below `limit` bytes. */
export function splitRows(V: number, D: number, limit: number): Array<{ first: number; rows: number }> {
  const most = Math.max(1, Math.floor(limit / (D * 4)));
  return Array.from({ length: Math.ceil(V / most) }, (_, i) => ({ first: i * most, rows: Math.min(most, V - i * most) }));
}

/** All weights of one model on the GPU, and for a trained model gradients, in f32. */
export class Parameters {
  readonly list: Parameter[];
  readonly arenas: Arena[];
  private readonly byName: Map<string, Parameter>;
  /** Low-rank adapters on these weights, which are frozen then. */
  adapters: Adapters | undefined;
  constructor(
    readonly gpu: Gpu,
    readonly spec: ModelSpec,
    readonly trainable: boolean,
    label = 'policy',
    /** The tensors: the model's, some of them (a frozen head, say), or its adapters'. */
    specs: ParameterSpec[] = parameterSpecs(spec),
    /** How weights are kept; trained ones in f32 or bf16, which their updates round to. */
    storage: Storage = IN_F32,
  ) {
    const layouts = trainable && gpu.uses('parameter_arena') ? layArenas(specs, storage, gpu.limits.tableSplitBytes) : [];
    const wholes = layouts.map(({ group, bytes }): Omit<Arena, 'members'> => ({ group, value: new Tensor(gpu, `${label} ${group}`, [bytes / 4]), grad: new Tensor(gpu, `d ${label} ${group}`, [bytes / 4]) }));
    for (const { value, grad } of wholes) for (const whole of [value, grad]) clearNow(whole);
    const places = new Map(layouts.flatMap(({ members }, i) => members.map(({ spec, offset }) => [spec, { ...wholes[i]!, offset }] as const)));
    this.list = specs.map((p) => {
      const inArena = places.get(p);
      if (inArena) {
        const name = `${label}.${p.name}`;
        const { value, grad, offset } = inArena;
        return { ...p, pieces: [{ first: 0, value: value.part(name, p.shape, offset), moments: { grad: grad.part(`d ${name}`, p.shape, offset) } }] };
      }
      const width = p.shape.length === 2 ? p.shape[1]! : 1;
      const split = p.table ? splitRows(p.shape[0]!, width, gpu.limits.tableSplitBytes) : [{ first: 0, rows: p.shape[0]! }];
      const pieces = split.map(({ first, rows }, i) => {
        const shape = p.shape.length === 2 ? [rows, width] : [rows];
        const name = split.length > 1 ? `${label}.${p.name}#${i}` : `${label}.${p.name}`;
        // A split never depends on the format, so that tiles of a vocabulary are the same in all.
        const format = shape.length === 2 ? storage(p) : 'f32';
        const value = format === 'f32' ? new Tensor(gpu, name, shape) : new PackedTensor(gpu, name, [rows, width], format);
        if (!trainable) return { first, value, moments: undefined };
        const grad = new Tensor(gpu, `d ${name}`, shape);
        clearNow(grad);
        return { first, value, moments: { grad } };
      });
      return { ...p, pieces };
    });
    this.byName = new Map(this.list.map((p) => [p.name, p]));
    this.arenas = layouts.map(({ members }, i) => ({ ...wholes[i]!, members: members.map(({ spec: { name } }) => this.byName.get(name)!) }));
  }

  /** A parameter; the one that adapters train in full in its place, where there is that. */
  get(name: string): Parameter {
    const found = this.adapters?.saved(name) ?? this.byName.get(name);
    if (!found) throw new Error(`no parameter ${name}`);
    return found;
  }

  has(name: string): boolean {
    return this.byName.has(name);
  }

  /** The only piece of a parameter that is never split. */
  piece(name: string): Piece {
    return this.get(name).pieces[0]!;
  }

  /** The same weights with adapters on them; the tensors are shared, so this model stays as it is. */
  with(adapters: Adapters): Parameters {
    const view = Object.create(this) as Parameters;
    view.adapters = adapters;
    return view;
  }

  /** What an optimiser moves: the adapters where there are any, else the weights. */
  get trained(): Parameters {
    return this.adapters?.parameters ?? this;
  }

  get pieces(): Array<Piece & { parameter: Parameter }> {
    return this.list.flatMap((parameter) => parameter.pieces.map((p) => ({ ...p, parameter })));
  }

  /** Everything that holds gradients: arenas, then those that are in none. */
  get gradients(): Tensor[] {
    return [...this.arenas.map(({ grad }) => grad), ...this.pieces.flatMap(({ moments }) => (moments && !moments.grad.whole ? [moments.grad] : []))];
  }

  /** Fills every parameter; `read` gives rows [first, first + rows) of a tensor as f32. */
  async load(read: (p: ParameterSpec, first: number, rows: number) => Float32Array | Promise<Float32Array>): Promise<void> {
    for (const parameter of this.list) {
      for (const piece of parameter.pieces) {
        await fillTensor(piece.value, parameter.name, (first, rows) => read(parameter, piece.first + first, rows), '--base_dtype bfloat16');
      }
    }
  }

  /** Reads rows [first, first + rows) of a parameter back (checkpoints). */
  async read(name: string, kind: 'value' | 'grad' = 'value'): Promise<Float32Array> {
    const parameter = this.get(name);
    const out = new Float32Array(parameter.shape.reduce((a, b) => a * b, 1));
    const width = parameter.shape.length === 2 ? parameter.shape[1]! : 1;
    for (const piece of parameter.pieces) {
      out.set(await (kind === 'value' ? readTensor(piece.value) : debugRead(piece.moments!.grad)), piece.first * width);
    }
    return out;
  }

  get bytes(): number {
    const apart = this.pieces.filter((p) => !p.value.whole);
    return apart.reduce((n, p) => n + bytesOf(p.value) * (p.moments ? 2 : 1), 0) + this.arenas.reduce((n, a) => n + a.value.bytes + a.grad.bytes, 0);
  }

  destroy(): void {
    for (const piece of this.pieces) {
      piece.value.destroy();
      if (piece.moments) for (const t of Object.values(piece.moments)) t.destroy();
    }
    for (const { value, grad } of this.arenas) for (const whole of [value, grad]) whole.destroy();
  }
}

/** Zeroes a tensor at once; `lazy_clear` is off in production, so new buffers hold garbage. */
export function clearNow(tensor: Tensor): void {
  const encoder = tensor.gpu.device.createCommandEncoder({ label: `clear ${tensor.label}` });
  clearTensor(encoder, tensor);
  tensor.gpu.device.queue.submit([encoder.finish()]);
}
