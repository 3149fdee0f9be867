import t from 'tap';
import { swiglu } from '../../src/gpu/ops/swiglu.js';
import { naps, patiently } from '../../src/gpu/patience.js';
import { idleShare, kernelOf, Profiler, sumByLabel } from '../../src/gpu/profile.js';
import { Program } from '../../src/gpu/program.js';
import { Dyn } from '../../src/gpu/tensor.js';
import { output, read, testGpu, upload } from '../helpers/gpu.js';
import { normals } from '../helpers/rng.js';

t.test('every dispatch is timed, over more than one query set, and results do not change', async (t) => {
  const gpu = await testGpu();
  t.ok(Profiler.supported(gpu), 'both software adapters have timestamps');
  const [small, large] = [{ N: 2, name: 'small' }, { N: 4096, name: 'large' }];
  const program = new Program(gpu, 'profiled');
  const results = [small, large].map(({ N, name }) => {
    const [gate, up] = [upload(gpu, 'g', [N, 16], normals(1, N * 16)), upload(gpu, 'u', [N, 16], normals(2, N * 16))];
    const h = output(gpu, 'h', [N, 16]);
    program.scope(name, () => swiglu(program, { gate, up, h }));
    return h;
  });
  await program.submit();
  const plain = await Promise.all(results.map(read));
  const profiler = new Profiler(gpu);
  for (const repeats of [1, 1100, 2]) {
    const encoder = gpu.device.createCommandEncoder();
    for (let i = 0; i < repeats; i++) program.encode(encoder, {}, profiler);
    const times = profiler.finish(encoder);
    gpu.device.queue.submit([encoder.finish()]);
    const list = await patiently(gpu, times());
    // Which form of the kernel it is is not ours to say.
    const name = (label: string): string => label.replace(/_vec4$/, '');
    t.same(list.slice(0, 2).map((d) => name(d.label)), ['small swiglu.fwd', 'large swiglu.fwd']);
    t.equal(list.length, 2 * repeats);
    t.ok(list.every((d) => d.ms >= 0 && Number.isFinite(d.ms)));
    const sums = sumByLabel(list);
    // Which of the two took longer is the machine's business (one preempted dispatch decides it); the order by time is ours.
    t.same(sums.map((s) => [name(s.label), s.dispatches]).sort(), [['large swiglu.fwd', repeats], ['small swiglu.fwd', repeats]]);
    t.ok(sums[0]!.ms >= sums[1]!.ms, 'the longest first');
    t.ok(sums[0]!.ms > 0);
    const one = sumByLabel(list, kernelOf);
    t.equal(one.length, 1);
    t.ok(Math.abs(one[0]!.ms - sums[0]!.ms - sums[1]!.ms) < 1e-6);
  }
  profiler.destroy();
  for (const [i, h] of results.entries()) t.same(await read(h), plain[i]);
});

t.test('passes as a replay has them, timed; copies between them are none; what moves is what the sizes fill', async (t) => {
  const gpu = await testGpu();
  const N = new Dyn('N', 8);
  const [gate, up] = [upload(gpu, 'g', [N, 16], normals(1, 8 * 16)), upload(gpu, 'u', [N, 16], normals(2, 8 * 16))];
  const [h, copy] = [output(gpu, 'h', [N, 16]), output(gpu, 'copy', [N, 16])];
  const program = new Program(gpu, 'passes');
  swiglu(program, { gate, up, h });
  swiglu(program, { gate, up, h });
  program.copy(h, copy);
  swiglu(program, { gate, up, h });
  t.same(program.dispatches({ N: 5 }).map((d) => d.bytes), new Array(3).fill(3 * 5 * 16 * 4));
  await program.ready();
  const profiler = new Profiler(gpu, 'pass');
  const encoder = gpu.device.createCommandEncoder();
  program.encode(encoder, { N: 8 }, profiler);
  const times = profiler.finish(encoder);
  gpu.device.queue.submit([encoder.finish()]);
  const list = await patiently(gpu, times());
  t.same(list.map((d) => d.label), ['passes', 'passes']);
  t.ok(list[0]!.from === 0 && list[1]!.from >= list[0]!.ms && list[1]!.ms > 0);
  profiler.destroy();
  t.same(await read(copy), await read(h));
});

t.test('idle is what no pass covers, however they overlap', (t) => {
  const at = (from: number, ms: number) => ({ label: '', groups: 0, inputs: {}, bytes: 0, from, ms });
  t.same(idleShare([at(0, 2), at(1, 2), at(6, 2)]), { span: 8, busy: 5, idle: 1 - 5 / 8 });
  t.same(idleShare([at(0, 8), at(1, 2)]), { span: 8, busy: 8, idle: 0 });
  t.end();
});

t.test('a wait that follows another at once does not nap for both', async (t) => {
  const gpu = await testGpu();
  const empty = async (): Promise<void> => {
    gpu.device.queue.submit([gpu.device.createCommandEncoder().finish()]);
    await patiently(gpu, gpu.device.queue.onSubmittedWorkDone());
  };
  let turns = 0;
  let counting = true;
  const turn = (): void => {
    turns++;
    if (counting) setImmediate(turn);
  };
  setImmediate(turn);
  const before = naps;
  for (let i = 0; i < 100; i++) await empty();
  counting = false;
  t.ok(naps > before || gpu.kind === 'hardware', 'it does nap');
  t.ok(naps - before <= turns + 1, `${naps - before} naps in ${turns} turns of the event loop: one at most in each`);
  await Promise.all(Array.from({ length: 10 }, empty));
  await t.rejects(patiently(gpu, Promise.reject(new Error('lost'))), { message: 'lost' });
});
