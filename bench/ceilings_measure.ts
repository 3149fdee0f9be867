import type { Gpu } from '../src/gpu/device.js';
import type { Kernel } from '../src/gpu/kernel.js';
import { matrixConfigs, matrixTile, type MatrixConfig } from '../src/gpu/matrices.js';
import { patiently } from '../src/gpu/patience.js';
import { Program, type ArgValue } from '../src/gpu/program.js';
import { Tensor } from '../src/gpu/tensor.js';
import { macF32, macMatrix, readAll, touch, touchNothing } from './ceilings_kernels.js';
import { copyRate } from './kernels_time.js';
import { measure, median } from '../src/gpu/timing.js';

/** A rate of multiply-accumulates, two operations each. */
export interface MacRate { component: string; result: string; M: number; N: number; K: number; tflops: number }

/** Submits `repeats` runs of one dispatch and waits: ms by the wall clock. */
async function timed(gpu: Gpu, kernel: Kernel, tensors: Record<string, Tensor>, args: Record<string, ArgValue>, tune: Record<string, number>, runs: number): Promise<number> {
  const p = await record(gpu, kernel, tensors, args, tune);
  return (await measure(runs, 'wall', (repeats) => submitted(gpu, p, repeats))).ms;
}

const record = (gpu: Gpu, kernel: Kernel, tensors: Record<string, Tensor>, args: Record<string, ArgValue>, tune: Record<string, number> = {}): Promise<Program> => {
  const p = new Program(gpu, kernel.name);
  p.run(kernel, tensors, args, { tune });
  return p.ready();
};

async function submitted(gpu: Gpu, p: Program, repeats: number): Promise<number> {
  const encoder = gpu.device.createCommandEncoder();
  for (let i = 0; i < repeats; i++) p.encode(encoder, {});
  const from = performance.now();
  gpu.device.queue.submit([encoder.finish()]);
  await patiently(gpu, gpu.device.queue.onSubmittedWorkDone());
  gpu.check();
  return performance.now() - from;
}

/** Workgroups and turns: enough to fill a card for a few milliseconds, few on a processor. */
const load = (gpu: Gpu): { groups: number; loops: number } => (gpu.kind === 'hardware' ? { groups: 2048, loops: 4096 } : { groups: 8, loops: 64 });

/** Every configuration whose subgroup size is known; an empty list where the adapter has no matrices that run. */
export async function matrixRates(gpu: Gpu, runs: number): Promise<MacRate[]> {
  const tile = matrixTile(gpu);
  if (typeof tile === 'string') return [];
  const rates: MacRate[] = [];
  for (const c of matrixConfigs(gpu)) rates.push({ ...c, tflops: await matrixRate(gpu, c, tile.SG, runs) });
  return rates;
}

async function matrixRate(gpu: Gpu, c: MatrixConfig, SG: number, runs: number): Promise<number> {
  const { groups, loops } = load(gpu);
  const ACCS = gpu.kind === 'hardware' ? 8 : 2;
  const subgroups = gpu.kind === 'hardware' ? 4 : 1;
  const out = new Tensor(gpu, 'mac', [ACCS * c.M * c.N]);
  const ms = await timed(gpu, macMatrix(c), { out }, { loops, seed: 0.5, groups }, { WG: SG * subgroups, SG, ACCS, MM: c.M, MN: c.N, MK: c.K }, runs);
  out.destroy();
  return (2 * c.M * c.N * c.K * ACCS * loops * groups * subgroups) / ms / 1e9;
}

/** f32 multiply-adds in registers, TFLOP/s. */
export async function f32Rate(gpu: Gpu, runs: number): Promise<number> {
  const { groups, loops } = load(gpu);
  const out = new Tensor(gpu, 'mac', [64]);
  const ms = await timed(gpu, macF32, { out }, { loops: loops * 8, seed: 0.5, groups }, {}, runs);
  out.destroy();
  return (2 * 4 * 8 * 64 * loops * 8 * groups) / ms / 1e9;
}

/** Larger than any cache, as far as the adapter binds that much. */
const large = (gpu: Gpu): number => Math.min(gpu.kind === 'hardware' ? 1 << 30 : 64 << 20, gpu.limits.bindingBytes);

/** GB/s: reading a large buffer; copying one (read plus written). */
export async function bandwidths(gpu: Gpu, runs: number): Promise<{ read_gbps: number; copy_gbps: number }> {
  const bytes = Math.floor(large(gpu) / 16) * 16;
  const [x, out] = [new Tensor(gpu, 'read from', [bytes / 16, 4]), new Tensor(gpu, 'read to', [1])];
  const ms = await timed(gpu, readAll, { x: x.as([bytes / 16]), out }, { never: Infinity }, {}, runs);
  x.destroy();
  out.destroy();
  return { read_gbps: bytes / ms / 1e6, copy_gbps: await copyRate(gpu, bytes, runs) };
}

/** µs a dispatch in one submit of `count`: the host's encoding, and all of it, with and without a dependence on the one before. */
export async function dispatchCost(gpu: Gpu, runs: number, count: number): Promise<Record<string, number>> {
  const [x, out] = [new Tensor(gpu, 'x', [4]), new Tensor(gpu, 'out', [4])];
  const programs = { independent: await record(gpu, touchNothing, { x }, { store: 1 }), dependent: await record(gpu, touch, { x, out }, { store: 1 }) };
  const costs: Record<string, number> = {};
  for (const [name, p] of Object.entries(programs)) {
    const [encode, whole]: [number[], number[]] = [[], []];
    await submitted(gpu, p, 8);
    for (let i = 0; i < runs; i++) {
      const from = performance.now();
      const encoder = gpu.device.createCommandEncoder();
      for (let n = 0; n < count; n++) p.encode(encoder, {});
      const commands = encoder.finish();
      encode.push(performance.now() - from);
      gpu.device.queue.submit([commands]);
      await patiently(gpu, gpu.device.queue.onSubmittedWorkDone());
      whole.push(performance.now() - from);
    }
    costs[`${name}_encode_us`] = (median(encode) * 1000) / count;
    costs[`${name}_us`] = (median(whole) * 1000) / count;
  }
  x.destroy();
  out.destroy();
  return costs;
}

/** ms: an upload of `bytes` until the queue is dry, and a copy of 16 bytes mapped. */
export async function latencies(gpu: Gpu, runs: number, bytes = 1 << 20): Promise<{ upload_ms: number; map_ms: number }> {
  const data = new Uint8Array(bytes);
  const to = gpu.createBuffer('upload', bytes);
  const staging = gpu.createBuffer('map', 16, GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST);
  const [uploads, maps]: [number[], number[]] = [[], []];
  for (let i = 0; i < runs + 1; i++) {
    let from = performance.now();
    gpu.device.queue.writeBuffer(to, 0, data);
    gpu.device.queue.submit([]);
    await patiently(gpu, gpu.device.queue.onSubmittedWorkDone());
    uploads.push(performance.now() - from);
    from = performance.now();
    const encoder = gpu.device.createCommandEncoder();
    encoder.copyBufferToBuffer(to, 0, staging, 0, 16);
    gpu.device.queue.submit([encoder.finish()]);
    await patiently(gpu, staging.mapAsync(GPUMapMode.READ));
    staging.unmap();
    maps.push(performance.now() - from);
  }
  for (const b of [to, staging]) gpu.destroyBuffer(b);
  return { upload_ms: median(uploads.slice(1)), map_ms: median(maps.slice(1)) };
}
