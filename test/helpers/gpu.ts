import t, { type Test } from 'tap';
import { create } from 'webgpu';
import { Gpu, openGpu } from '../../src/gpu/device.js';
import { toggleList } from '../../src/gpu/toggles.js';
import { Program, type ArgValue, type StepValues } from '../../src/gpu/program.js';
import { debugRead } from '../../src/gpu/readback.js';
import { Tensor, type Extent } from '../../src/gpu/tensor.js';

let shared: Promise<Gpu> | undefined;
// Dropped while a device lives, an instance takes the process down now and then.
const kept: unknown[] = [];

/** One device for a test file, validation on (or EDPO_TOGGLES). No adapter is a failure, never a skip. */
export function testGpu(): Promise<Gpu> {
  shared ??= openGpu({ toggles: (process.env['EDPO_TOGGLES'] as 'production' | undefined) ?? 'checked' }).then((gpu) => {
    t.teardown(() => {
      gpu.check();
      gpu.close();
      // Dawn keeps threads; tap has its results by now.
      setTimeout(() => process.exit(), 50).unref();
    });
    return gpu;
  });
  return shared;
}

/** Dawn's `null` backend: it type-checks shaders and builds pipelines for adapters that are not here, and computes nothing. */
export async function nullGpu(): Promise<Gpu> {
  const instance = create(['backend=null', `enable-dawn-features=${toggleList('checked').enable.join(',')}`]);
  const adapter = (await instance.requestAdapter())!;
  kept.push(instance, adapter);
  const features = ['subgroups', 'subgroup-size-control', 'shader-f16', 'chromium-experimental-subgroup-matrix'];
  const { maxStorageBuffersPerShaderStage: storageBuffers, maxComputeInvocationsPerWorkgroup: workgroupInvocations, maxComputeWorkgroupStorageSize } = adapter.limits;
  const device = await adapter.requestDevice({ requiredFeatures: features as GPUFeatureName[], requiredLimits: { maxComputeWorkgroupStorageSize, maxStorageBuffersPerShaderStage: storageBuffers, maxComputeInvocationsPerWorkgroup: workgroupInvocations } });
  const bytes = 1 << 28;
  return new Gpu(device, adapter, 'software', 'checked', { bindingBytes: bytes, bufferBytes: bytes, tableSplitBytes: bytes, storageBuffers, workgroupInvocations, workgroupBytes: maxComputeWorkgroupStorageSize }, new Set(features));
}

/** A tensor with data. */
export function upload(gpu: Gpu, label: string, shape: Extent[], data: Float32Array | Uint32Array): Tensor {
  const tensor = new Tensor(gpu, label, shape, data instanceof Uint32Array ? 'u32' : 'f32');
  tensor.write(data);
  return tensor;
}

/** A zeroed (or filled) output tensor. `fill` shows whether a kernel writes or adds. */
export function output(gpu: Gpu, label: string, shape: Extent[], fill = 0): Tensor {
  const tensor = new Tensor(gpu, label, shape);
  tensor.write(new Float32Array(tensor.elements).fill(fill));
  return tensor;
}

/** Records with `body`, runs once, and returns a reader. */
export async function runOnce(gpu: Gpu, body: (p: Program) => void, values: StepValues = {}): Promise<void> {
  const program = new Program(gpu, 'test');
  body(program);
  await program.submit(values);
  await gpu.device.queue.onSubmittedWorkDone();
  gpu.check();
}

export const read = (tensor: Tensor): Promise<Float32Array> => debugRead(tensor);
export type { ArgValue, Test };
