import { parseArgs } from 'node:util';
import { openGpu } from '../src/gpu/device.js';
import { compileKernel } from '../src/gpu/kernel.js';
import { patiently } from '../src/gpu/patience.js';
import { readAll } from './ceilings_kernels.js';

const HELP = `npm run bench -- buffers [--adapter NAME]

Large buffers: one half again as large as a binding may be, bound in two windows; then buffers until 6 GiB stand (192 MiB on a processor), with the
time to make and clear each. NDJSON to stdout. What fails is said and ends the list.
`;

export async function run(args: string[]): Promise<void> {
  const { values: o } = parseArgs({ args, options: { adapter: { type: 'string', default: 'auto' }, help: { type: 'boolean', default: false } } });
  if (o.help) return void process.stderr.write(HELP);
  const gpu = await openGpu({ adapter: o.adapter });
  const emit = (record: object): void => void process.stdout.write(`${JSON.stringify({ bench: 'buffers', ...record, adapter: gpu.name, adapter_kind: gpu.kind, limits: gpu.limits })}\n`);
  const { device } = gpu;
  const attempt = async (what: string, bytes: number, body: () => Promise<GPUBuffer[]>): Promise<boolean> => {
    device.pushErrorScope('validation');
    device.pushErrorScope('out-of-memory');
    const from = performance.now();
    let made: GPUBuffer[] = [];
    let failed = '';
    try {
      made = await body();
    } catch (error) {
      failed = (error as Error).message;
    }
    const errors = [await device.popErrorScope(), await device.popErrorScope()];
    failed ||= errors.flatMap((e) => (e ? [e.message.split('\n')[0]!] : [])).join('; ');
    emit({ what, bytes, ms: performance.now() - from, ...(failed ? { failed } : {}) });
    for (const b of made) gpu.destroyBuffer(b);
    return failed === '';
  };
  const clear = async (buffers: GPUBuffer[]): Promise<void> => {
    const encoder = device.createCommandEncoder();
    for (const b of buffers) encoder.clearBuffer(b);
    device.queue.submit([encoder.finish()]);
    await patiently(gpu, device.queue.onSubmittedWorkDone());
  };
  const window = Math.floor(Math.min(gpu.limits.bindingBytes, gpu.kind === 'hardware' ? 2 ** 31 - 4 : 2 ** 26) / 65536) * 65536;
  const large = window + window / 2;
  await attempt('two windows of one buffer', large, async () => {
    const buffer = gpu.createBuffer('large', large);
    const out = gpu.createBuffer('out', 16);
    const { layout, pipeline } = compileKernel(gpu, readAll, {});
    const ready = await pipeline;
    const encoder = device.createCommandEncoder();
    encoder.clearBuffer(buffer);
    const pass = encoder.beginComputePass();
    for (const [offset, size] of [[0, window], [window, large - window]] as const) {
      const bytes = new DataView(new ArrayBuffer(8));
      bytes.setUint32(0, size / 16, true);
      bytes.setFloat32(4, Infinity, true);
      pass.setPipeline(ready);
      pass.setBindGroup(0, device.createBindGroup({ layout, entries: [{ binding: 0, resource: { buffer, offset, size } }, { binding: 1, resource: { buffer: out } }] }));
      (pass as GPUComputePassEncoder & { setImmediates(offset: number, data: ArrayBuffer): void }).setImmediates(0, bytes.buffer as ArrayBuffer);
      pass.dispatchWorkgroups(Math.min(65535, Math.ceil(size / 16 / (256 * 16))));
    }
    pass.end();
    device.queue.submit([encoder.finish()]);
    await patiently(gpu, device.queue.onSubmittedWorkDone());
    return [buffer, out];
  });
  const total = gpu.kind === 'hardware' ? 6 * 2 ** 30 : 192 << 20;
  const kept: GPUBuffer[] = [];
  for (let stood = 0; stood < total; stood += window) {
    const fine = await attempt(`${stood} bytes stand, one more`, window, async () => {
      const buffer = gpu.createBuffer('one more', window);
      kept.push(buffer);
      await clear([buffer]);
      return [];
    });
    if (!fine) break;
  }
  for (const b of kept) gpu.destroyBuffer(b);
  gpu.close();
}
