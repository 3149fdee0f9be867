import type { Gpu } from '../src/gpu/device.js';

const MADE = ['createBuffer', 'createBindGroup', 'createBindGroupLayout', 'createPipelineLayout', 'createShaderModule', 'createComputePipeline', 'createComputePipelineAsync', 'createQuerySet'] as const;

/** Counts every object the device is asked for from now on, by the call; `undo` ends it. Command encoders and passes are a step's own and not counted. */
export function countMade(gpu: Gpu): { made: Record<string, number>; undo: () => void } {
  const made: Record<string, number> = {};
  const device = gpu.device as unknown as Record<string, ((...args: unknown[]) => unknown) | undefined>;
  for (const name of MADE) {
    const original = device[name]!;
    Object.defineProperty(device, name, { configurable: true, value: (...args: unknown[]) => {
      made[name] = (made[name] ?? 0) + 1;
      return original.apply(gpu.device, args);
    } });
  }
  return { made, undo: () => MADE.forEach((name) => delete device[name]) };
}
