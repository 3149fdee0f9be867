import { Gpu } from '../../src/gpu/device.js';
import { openGpus } from '../../src/gpu/open.js';

/** Buffers up to this size are what they say: the small tables that are written while a model is built. */
const REAL = 1 << 20;

/** The device without bind groups (a model of real size records ten thousand, more than some drivers hold); what Dawn reports goes to its owner. */
const withoutBindGroups = (device: GPUDevice): GPUDevice => new Proxy(device, {
  get(target, key) {
    if (key === 'createBindGroup') return () => ({});
    if (key === 'addEventListener') return () => undefined;
    const value: unknown = Reflect.get(target, key, target);
    return typeof value === 'function' ? (value as (...args: unknown[]) => unknown).bind(target) : value;
  },
});

/**
 * A device that keeps shapes alone, for models of real size on a machine that could not hold them: another device with a small buffer in place of every
 * large one. Programs are recorded and their kernels compiled as anywhere, and `Engine.dispatches` tells what they would run; none may be run.
 * Its limits are those of an NVIDIA card, so that tables are split as there.
 */
export class ShapesGpu extends Gpu {
  /** Bytes that were asked for; `bytesNow` has those that exist. */
  asked = 0;

  constructor(private readonly of: Gpu) {
    const bindingBytes = 2 ** 31 - 16;
    super(withoutBindGroups(of.device), of.adapter, of.kind, of.toggles, { ...of.limits, bindingBytes, bufferBytes: bindingBytes, tableSplitBytes: bindingBytes }, of.features);
    openGpus.delete(this);
    for (const [code, compiled] of of.pipelines) this.pipelines.set(code, compiled);
  }

  override createBuffer(label: string, bytes: number, usage?: number): GPUBuffer {
    this.asked += bytes;
    return super.createBuffer(label, bytes > REAL ? 256 : bytes, usage);
  }

  override check(): void {
    this.of.check();
  }

  /** Frees the stand-ins; the device stays its owner's. */
  override close(): void {
    for (const buffer of this.buffers) buffer.destroy();
    this.buffers.clear();
    for (const [code, compiled] of this.pipelines) this.of.pipelines.set(code, compiled);
  }
}
