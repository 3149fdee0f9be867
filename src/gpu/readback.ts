import type { Gpu } from './device.js';
import { patiently } from './patience.js';
import type { Tensor } from './tensor.js';

/** Waits for the queue and reads a tensor: tests, checkpoints, debugging. Never inside a step. */
export async function debugRead(tensor: Tensor, elements = tensor.elements, elementOffset = 0): Promise<Float32Array> {
  return new Float32Array(await readBytes(tensor, elementOffset * 4, elements * 4));
}

export async function debugReadU32(tensor: Tensor, elements = tensor.elements): Promise<Uint32Array> {
  return new Uint32Array(await readBytes(tensor, 0, elements * 4));
}

async function readBytes({ gpu, place }: Tensor, offset: number, bytes: number): Promise<ArrayBuffer> {
  const size = Math.max(4, bytes);
  const staging = gpu.createBuffer('readback', size, GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST);
  const encoder = gpu.device.createCommandEncoder();
  encoder.copyBufferToBuffer(place.buffer, place.offset + offset, staging, 0, size);
  gpu.device.queue.submit([encoder.finish()]);
  try {
    await patiently(gpu, staging.mapAsync(GPUMapMode.READ, 0, size));
  } catch (error) {
    gpu.check();
    throw error;
  }
  const copy = staging.getMappedRange(0, size).slice(0, bytes);
  staging.unmap();
  gpu.destroyBuffer(staging);
  gpu.check();
  return copy;
}

/**
 * A rotation of staging buffers: `capture` is encoded with a step, its promise is awaited a step later,
 * so the GPU never waits for the host.
 */
export class ReadbackRing {
  private readonly free: GPUBuffer[] = [];
  constructor(
    readonly gpu: Gpu,
    readonly bytes: number,
    slots = 3,
  ) {
    for (let i = 0; i < slots; i++) {
      this.free.push(gpu.createBuffer(`readback ring ${i}`, bytes, GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST));
    }
  }

  /** Records copies of whole tensors, one after the other; call the result after `submit` to get the data. */
  capture(encoder: GPUCommandEncoder, tensors: Tensor[]): () => Promise<ArrayBuffer> {
    const staging = this.free.pop() ?? this.gpu.createBuffer('readback ring +', this.bytes, GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST);
    let at = 0;
    for (const tensor of tensors) {
      encoder.copyBufferToBuffer(tensor.buffer, tensor.place.offset, staging, at, tensor.bytes);
      at += tensor.bytes;
    }
    return async () => {
      try {
        await patiently(this.gpu, staging.mapAsync(GPUMapMode.READ));
      } catch (error) {
        this.gpu.check();
        throw error;
      }
      const copy = staging.getMappedRange().slice(0, at);
      staging.unmap();
      this.free.push(staging);
      this.gpu.check();
      return copy;
    };
  }
}
