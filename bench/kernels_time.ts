import type { Gpu } from '../src/gpu/device.js';
import { patiently } from '../src/gpu/patience.js';
import { Profiler } from '../src/gpu/profile.js';
import { Program } from '../src/gpu/program.js';
import { PackedTensor, type PackedFormat } from '../src/gpu/packed.js';
import { Tensor, type Extent } from '../src/gpu/tensor.js';
import type { KernelCase } from './kernels_cases.js';

/** Median of several runs, each long enough for the clock. */
export interface Timing {
  /** Per execution of the case. */
  ms: number;
  runs: number;
  /** Executions per run. */
  repeats: number;
  /** Timestamp queries of the adapter, or wall clock around a submission that is waited for. */
  clock: 'timestamp' | 'wall';
}

/** A run lasts at least this long, so that neither the clock nor the submission counts. */
const RUN_MS = 40;
/** Work before the first run: a card's clocks fall to a fifth while it waits for a compiler, and need this long to come back. */
const WARM_MS = 150;
const MOST_REPEATS = 512;

export const median = (values: number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
};

/** Calls `once(repeats)` → ms for all repeats: warms up (kernels and the card's clocks), finds the repeats, returns the median per execution. */
export async function measure(runs: number, clock: Timing['clock'], once: (repeats: number) => Promise<number>): Promise<Timing> {
  await once(1);
  const enough = async (): Promise<number> => Math.max(1, Math.min(MOST_REPEATS, Math.ceil((RUN_MS * 2) / Math.max(await once(2), 1e-3))));
  let repeats = await enough();
  for (const from = performance.now(); performance.now() - from < WARM_MS; ) await once(repeats);
  repeats = await enough();
  const times: number[] = [];
  for (let i = 0; i < runs; i++) times.push((await once(repeats)) / repeats);
  return { ms: median(times), runs, repeats, clock };
}

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
  await program.ready();
  const profiler = Profiler.supported(gpu) ? new Profiler(gpu) : undefined;
  const timing = await measure(runs, profiler ? 'timestamp' : 'wall', async (repeats) => {
    const encoder = gpu.device.createCommandEncoder();
    for (let i = 0; i < repeats; i++) program.encode(encoder, { measureScales: 0 }, profiler);
    const times = profiler?.finish(encoder);
    const from = performance.now();
    gpu.device.queue.submit([encoder.finish()]);
    if (times) return (await patiently(gpu, times())).reduce((sum, { label, ms }) => sum + (only.test(label) ? ms : 0), 0);
    await patiently(gpu, gpu.device.queue.onSubmittedWorkDone());
    gpu.check();
    return performance.now() - from;
  });
  profiler?.destroy();
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
