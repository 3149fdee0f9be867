import type { Gpu } from '../src/gpu/device.js';
import { matmulCase } from './kernels_cases.js';
import { copyRate, timeCase } from './kernels_time.js';

/** What the same adapter did in the same run: the best plain f32 matmul at 256^3 and 512^3 (GFLOP/s), and a copy (GB/s). */
export interface Ceiling {
  gflops: number;
  gbps: number;
}

export async function ceiling(gpu: Gpu, runs: number): Promise<Ceiling> {
  const rates: number[] = [];
  for (const n of [256, 512]) {
    for (const form of ['nt', 'nn'] as const) {
      const c = matmulCase(form, n, n, n);
      rates.push(c.flops / (await timeCase(gpu, c, runs)).ms / 1e6);
    }
  }
  // Larger than the caches of what it runs on.
  const bytes = Math.min(gpu.kind === 'hardware' ? 512 << 20 : 64 << 20, gpu.limits.bufferBytes);
  return { gflops: Math.max(...rates), gbps: await copyRate(gpu, bytes, runs) };
}
