import type { Gpu } from '../src/gpu/device.js';
import { patiently } from '../src/gpu/patience.js';
import { Program } from '../src/gpu/program.js';
import { PackedTensor, type PackedFormat } from '../src/gpu/packed.js';
import { Tensor, type Extent } from '../src/gpu/tensor.js';
import { measure, timeProgram, type Timing } from '../src/gpu/timing.js';
import type { KernelCase } from './kernels_cases.js';

/** Times one case on its own tensors, freed afterwards. `only`: where there are timestamps, those of the dispatches whose label fits. */
export async function timeCase(gpu: Gpu, c: KernelCase, runs: number, only = c.only ?? /./): Promise<Timing> {
  const tensors: Array<{ destroy(): void }> = [];
  const program = new Program(gpu, c.kernel);
  const make = (shape: Extent[], data?: Float32Array | Uint32Array): Tensor => {
    const tensor = new Tensor(gpu, c.kernel, shape, data instanceof Uint32Array ? 'u32' : 'f32');
    // Small spread numbers: no denormals, no overflow however often an accumulating op runs.
    tensor.write(data ?? Float32Array.from({ length: tensor.elements }, (_, i) => ((i * 37) % 101) / 101 - 0.5));
    tensors.push(tensor);
    return tensor;
  };
  /** Every pattern of bits but f16's and bf16's large numbers. */
  const packed = (shape: [number, number], format: PackedFormat): PackedTensor => {
    const tensor = new PackedTensor(gpu, c.kernel, shape, format);
    tensor.write(Uint32Array.from({ length: tensor.elements }, (_, i) => Math.imul(i, 2654435761) & 0xbfffbfff));
    tensor.scales?.write(Float32Array.from({ length: tensor.scales.elements }, (_, i) => ((i * 37) % 101) / 101 - 0.5));
    tensor.codes?.write(Uint32Array.from({ length: tensor.codes.elements }, (_, i) => Math.imul(i, 2654435761)));
    tensors.push(tensor);
    return tensor;
  };
  c.record(program, Object.assign(make, { packed, freed: (what: { destroy(): void }) => void tensors.push(what) }));
  const timing = await timeProgram(gpu, program, runs, { values: { measureScales: 0 }, only });
  for (const tensor of tensors) tensor.destroy();
  return timing;
}

/** Copying `bytes` from buffer to buffer: GB/s read plus written, by the wall clock. */
export async function copyRate(gpu: Gpu, bytes: number, runs: number): Promise<number> {
  const [from, to] = [gpu.createBuffer('copy from', bytes), gpu.createBuffer('copy to', bytes)];
  const { ms } = await measure(runs, 'wall', async (repeats) => {
    const encoder = gpu.device.createCommandEncoder();
    for (let i = 0; i < repeats; i++) encoder.copyBufferToBuffer(from, 0, to, 0, bytes);
    const start = performance.now();
    gpu.device.queue.submit([encoder.finish()]);
    await patiently(gpu, gpu.device.queue.onSubmittedWorkDone());
    return performance.now() - start;
  });
  gpu.destroyBuffer(from);
  gpu.destroyBuffer(to);
  return (2 * bytes) / ms / 1e6;
}
