import { EdpoError } from '../errors.js';
import type { Gpu } from './device.js';
import { foldGrid } from './grid.js';
import { compileKernel, solveLetters, type ArgType, type Kernel } from './kernel.js';
import type { MatrixOperands } from './ops/operand_layout.js';
import { patiently } from './patience.js';
import { Dyn, OperandTensor, capacityOf, overlap, type Extent, type Place, type Tensor } from './tensor.js';

/** Values of the dynamic sizes and scalars of one replay, by name. */
export type StepValues = Record<string, number>;
/** An argument fixed when recorded, or a dynamic one looked up in `StepValues` at each replay. */
export type ArgValue = number | Dyn;

interface Dispatch {
  kind: 'dispatch';
  label: string;
  pipeline: GPUComputePipeline | Promise<GPUComputePipeline>;
  bindGroup: GPUBindGroup;
  binding: GPUBindGroupDescriptor;
  args: Array<{ type: ArgType; name: string }>;
  grid: Kernel['grid'];
  /** Constants, letters and arguments as they stand; a replay changes only the dynamic ones. */
  inputs: Record<string, number>;
  dynamic: Array<[string, Dyn]>;
  /** The arguments and the workgroups of `inputs`; none yet before the first replay. */
  bytes: DataView;
  groups: number;
  /** What is bound, and how often its bytes move if each is read or written once: twice where it is updated. */
  bound: Array<{ tensor: Tensor; times: number }>;
}
interface Clear { kind: 'clear'; tensor: Tensor }
interface Copy { kind: 'copy'; from: Tensor; to: Tensor }
type Step = Dispatch | Clear | Copy;

/** A dynamic scalar argument (a learning rate, say); `capacity` is of no use to it. */
export const scalar = (name: string): Dyn => new Dyn(name, 0);

/**
 * Plan once, replay: a recorded list of dispatches with their bind groups. A step only re-encodes the list
 * with this micro-batch's sizes; nothing is allocated while it does.
 */
export class Program {
  private readonly steps: Step[] = [];
  private prefix = '';
  /** Where products with a weight find f16 operands; without it all are f32. */
  operands: MatrixOperands | undefined;
  /** Operands that stand packed at this point of the list, by the tensor they were made from. */
  private readonly packed = new Map<Place, Map<string, Tensor>>();
  /** Tensors whose contents at this point exist as packed operands alone. */
  private readonly onlyPacked = new Set<Place>();
  /** Whether dispatches keep what they were bound and given. */
  private readonly replays: boolean;
  constructor(
    readonly gpu: Gpu,
    readonly label: string,
  ) {
    this.replays = gpu.uses('replay');
  }

  /** Labels of what `body` records are prefixed, so that Dawn's errors and profiles say which layer. */
  scope(name: string, body: () => void): void {
    const outer = this.prefix;
    this.prefix = `${outer}${name} `;
    body();
    this.prefix = outer;
  }

  /** Products that `body` records take their operands from `operands` (mixed precision). */
  mixed(operands: MatrixOperands | undefined, body: () => void): void {
    const outer = this.operands;
    this.operands = operands;
    this.packed.clear();
    this.onlyPacked.clear();
    body();
    this.operands = outer;
    this.packed.clear();
    this.onlyPacked.clear();
  }

  /** The packed form of a tensor's contents, if it was recorded and neither has been written since. */
  heldOperand(of: Tensor, key: string): Tensor | undefined {
    return this.packed.get(of.place)?.get(key);
  }
  /** @param alone the tensor itself was not written: whatever else reads it is an error */
  holdOperand({ place }: Tensor, key: string, packed: Tensor, alone = false): void {
    if (alone) {
      this.packed.delete(place);
      this.onlyPacked.add(place);
    }
    this.packed.set(place, (this.packed.get(place) ?? new Map<string, Tensor>()).set(key, packed));
  }
  private standsPacked({ place }: Tensor): boolean {
    for (const of of this.onlyPacked) if (overlap(of, place)) return true;
    return false;
  }
  /** A tensor is written: what was packed from it, or into it, is no longer so; nor from what it is a part of, or its parts. */
  private written({ place }: Tensor): void {
    for (const of of this.onlyPacked) if (overlap(of, place)) this.onlyPacked.delete(of);
    for (const [of, forms] of this.packed) {
      if (overlap(of, place)) this.packed.delete(of);
      else for (const [key, tensor] of forms) if (overlap(tensor.place, place)) forms.delete(key);
    }
  }

  /** Throws EdpoError where a tensor's contents exist as a packed operand alone: it was made so, or has no room for anything else. */
  private requireContents(label: string, tensor: Tensor, reads: boolean): void {
    if ((reads && this.standsPacked(tensor)) || tensor instanceof OperandTensor) throw new EdpoError(`${label}: ${tensor.describe()} was made as a packed operand alone`);
  }

  /** Records one dispatch. `args` may also give letters that no tensor's shape tells. */
  run(
    kernel: Kernel,
    tensors: Record<string, Tensor>,
    args: Record<string, ArgValue> = {},
    options: { tune?: Record<string, number>; prelude?: string } = {},
  ): void {
    const tune = { ...kernel.tune, ...options.tune };
    const letters = solveLetters(kernel, tensors, args);
    const compiled = compileKernel(this.gpu, kernel, options.tune ?? {}, options.prelude);
    const binding: GPUBindGroupDescriptor = {
      label: `${this.prefix}${kernel.name}`,
      layout: compiled.layout,
      entries: kernel.bindings.map((b, binding) => ({ binding, resource: tensors[b.name]!.binding })),
    };
    for (const b of kernel.bindings) this.requireContents(`${this.prefix}${kernel.name}`, tensors[b.name]!, b.access !== 'write');
    for (const a of kernel.bindings) {
      const other = a.access === 'read' && kernel.bindings.find((b) => b.access !== 'read' && tensors[b.name]!.buffer === tensors[a.name]!.buffer);
      if (other) throw new EdpoError(`${this.prefix}${kernel.name}: ${a.name}: ${tensors[a.name]!.describe()} and ${other.name}: ${tensors[other.name]!.describe()} lie in one buffer, and a dispatch may not read it and write it`);
    }
    for (const b of kernel.bindings) if (b.access !== 'read') this.written(tensors[b.name]!);
    const list = Object.entries(kernel.args ?? {}).map(([name, type]) => {
      const value = args[name] ?? letters[name];
      if (value === undefined) throw new EdpoError(`${kernel.name}: argument ${name} was not given`);
      return { type, value, name };
    });
    const sizes: Array<[string, Extent]> = [...Object.entries(letters), ...list.map(({ name, value }): [string, ArgValue] => [name, value])];
    this.steps.push({
      kind: 'dispatch',
      label: `${this.prefix}${kernel.name}`,
      pipeline: compiled.pipeline,
      bindGroup: this.gpu.device.createBindGroup(binding),
      binding,
      args: list,
      grid: kernel.grid,
      inputs: { ...tune, SG: this.gpu.rowLanes, ...Object.fromEntries(sizes.map(([name, extent]) => [name, typeof extent === 'number' ? extent : NaN])) },
      dynamic: sizes.filter((entry): entry is [string, Dyn] => typeof entry[1] !== 'number'),
      bytes: new DataView(new ArrayBuffer(list.length * 4)),
      groups: -1,
      bound: kernel.bindings.map((b) => ({ tensor: tensors[b.name]!, times: b.access === 'update' ? 2 : 1 })),
    });
  }

  /** Records zeroing a whole tensor. */
  clear(tensor: Tensor): void {
    this.requireContents(`${this.prefix}clear`, tensor, false);
    this.written(tensor);
    this.steps.push({ kind: 'clear', tensor });
  }

  /** Records copying a whole tensor to another of the same size. */
  copy(from: Tensor, to: Tensor): void {
    this.requireContents(`${this.prefix}copy`, from, true);
    this.requireContents(`${this.prefix}copy`, to, false);
    this.written(to);
    this.steps.push({ kind: 'copy', from, to });
  }

  get length(): number {
    return this.steps.length;
  }
  get clears(): number {
    return this.steps.filter(({ kind }) => kind === 'clear').length;
  }

  /** Waits for every pipeline. Call once, before the first `encode`. */
  async ready(): Promise<this> {
    const dispatches = this.steps.filter((step) => step.kind === 'dispatch');
    const pipelines = await patiently(this.gpu, Promise.all(dispatches.map((step) => step.pipeline)));
    dispatches.forEach((step, i) => (step.pipeline = pipelines[i]!));
    return this;
  }

  /**
   * Encodes the list. `values` gives every dynamic size and scalar by name.
   * @param profile where to write timestamps, around every dispatch (one pass for each then) or around every pass.
   */
  encode(encoder: GPUCommandEncoder, values: StepValues, profile?: ProfileSink): void {
    let pass: GPUComputePassEncoder | undefined;
    let bound: GPUComputePipeline | undefined;
    for (const step of this.steps) {
      if (step.kind !== 'dispatch') {
        pass?.end();
        pass = bound = undefined;
        if (step.kind === 'clear') clearTensor(encoder, step.tensor);
        else encoder.copyBufferToBuffer(step.from.buffer, step.from.place.offset, step.to.buffer, step.to.place.offset, step.from.bytes);
        continue;
      }
      const groups = this.size(step, values);
      if (groups === 0) continue;
      if (profile?.per === 'dispatch') pass = encoder.beginComputePass({ label: step.label, timestampWrites: profile.next(this.dispatched(step, values)) });
      else pass ??= encoder.beginComputePass({ label: this.label, ...(profile ? { timestampWrites: profile.next({ label: this.label, groups: 0, inputs: {}, bytes: 0 }) } : {}) });
      if (bound !== step.pipeline) pass.setPipeline((bound = step.pipeline as GPUComputePipeline));
      pass.setBindGroup(0, this.replays ? step.bindGroup : this.gpu.device.createBindGroup(step.binding));
      if (step.args.length > 0) (pass as GPUComputePassEncoder & { setImmediates(offset: number, data: ArrayBufferLike): void }).setImmediates(0, step.bytes.buffer);
      const [x, y, z] = foldGrid(groups);
      pass.dispatchWorkgroups(x, y, z);
      if (profile?.per === 'dispatch') {
        pass.end();
        pass = bound = undefined;
      }
    }
    pass?.end();
  }

  /** Brings a dispatch's inputs, arguments and workgroups up to these values; nothing is made anew, as a replay has a thousand of them. */
  private size(step: Dispatch, values: StepValues): number {
    let same = step.groups >= 0 && this.replays;
    for (const [name, extent] of step.dynamic) {
      const value = this.value(step.label, extent, values);
      if (step.inputs[name] === value) continue;
      step.inputs[name] = value;
      same = false;
    }
    if (same) return step.groups;
    step.args.forEach(({ type, name }, i) => {
      const value = step.inputs[name]!;
      if (type === 'f32') step.bytes.setFloat32(i * 4, value, true);
      else if (type === 'u32') step.bytes.setUint32(i * 4, value, true);
      else step.bytes.setInt32(i * 4, value, true);
    });
    return (step.groups = step.grid(step.inputs));
  }

  private dispatched(step: Dispatch, values: StepValues): DispatchSizes {
    return { label: step.label, groups: this.size(step, values), inputs: { ...step.inputs }, bytes: this.moved(step, values) };
  }

  /** What a replay with these values would dispatch, in order: labels, workgroups and all sizes. Nothing runs. */
  dispatches(values: StepValues): DispatchSizes[] {
    return this.steps.flatMap((step) => {
      if (step.kind !== 'dispatch') return [];
      const sizes = this.dispatched(step, values);
      return sizes.groups === 0 ? [] : [sizes];
    });
  }

  private moved(step: Dispatch, values: StepValues): number {
    return step.bound.reduce((sum, { tensor, times }) => {
      const filled = tensor.shape.reduce<number>((part, e) => (typeof e === 'number' || e.capacity === 0 ? part : (part * this.value(step.label, e, values)) / e.capacity), 1);
      // A view may be of a part of what is there; packed weights take less than their shape.
      return sum + times * Math.min(tensor.bytes, tensor.shape.reduce<number>((n, e) => n * capacityOf(e), 4)) * filled;
    }, 0);
  }

  private value(label: string, extent: Extent, values: StepValues): number {
    if (typeof extent === 'number') return extent;
    const given = values[extent.name];
    if (given === undefined) throw new EdpoError(`${label}: no value for ${extent.name}`);
    const value = given * extent.factor;
    if (extent.capacity > 0 && value > extent.capacity) {
      throw new EdpoError(`${label}: ${extent.name}=${value} is over its capacity ${extent.capacity}`);
    }
    return value;
  }

  /** Encodes and submits alone: tests and one-off work. */
  async submit(values: StepValues = {}): Promise<void> {
    await this.ready();
    const encoder = this.gpu.device.createCommandEncoder({ label: this.label });
    this.encode(encoder, values);
    this.gpu.device.queue.submit([encoder.finish()]);
  }
}

/** Encodes zeroing a tensor: a whole buffer, what is behind its elements too, or a part of one. */
export function clearTensor(encoder: GPUCommandEncoder, { whole, place }: Tensor): void {
  if (whole) encoder.clearBuffer(place.buffer, place.offset, place.bytes);
  else encoder.clearBuffer(place.buffer);
}

/** One dispatch of a replay. */
export interface DispatchSizes {
  label: string;
  groups: number;
  inputs: Record<string, number>;
  /** Of all that is bound, as far as these sizes fill it: what moves if a kernel touches everything once, more than moves where it looks up a few rows of a table. */
  bytes: number;
}

/** Multiply-adds of the matrix products among these, times two; all three forms do M · I · count. Attention and the rest are not counted. */
export const matmulFlops = (list: Array<Pick<DispatchSizes, 'label' | 'inputs'>>): number =>
  list.reduce((sum, { label, inputs }) => sum + (/(^| )matmul\./.test(label) ? 2 * inputs['M']! * inputs['I']! * inputs['count']! : 0), 0);

/** Hands out timestamp slots, a pair for each dispatch or for each pass; see `profile.ts`. */
export interface ProfileSink {
  readonly per: 'dispatch' | 'pass';
  next(sizes: DispatchSizes): GPUComputePassTimestampWrites;
}
