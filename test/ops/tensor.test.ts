import t from 'tap';
import { mix } from '../../src/gpu/ops/mix.js';
import { scale } from '../../src/gpu/ops/scale.js';
import { Program } from '../../src/gpu/program.js';
import { debugRead, debugReadU32, ReadbackRing } from '../../src/gpu/readback.js';
import { partBytes } from '../../src/gpu/tensor.js';
import { output, read, runOnce, testGpu } from '../helpers/gpu.js';

const SHAPES = [[3], [7, 5], [1], [64, 2], [2]];

/** A tensor with parts of these shapes; all of it is 9. */
async function parted() {
  const gpu = await testGpu();
  const offsets = SHAPES.map((_, i) => SHAPES.slice(0, i).reduce((n, s) => n + partBytes(4 * s.reduce((a, b) => a * b)), 0));
  const whole = output(gpu, 'whole', [(offsets.at(-1)! + partBytes(8)) / 4], 9);
  return { gpu, whole, offsets, parts: SHAPES.map((shape, i) => whole.part(`part ${i}`, shape, offsets[i]!)) };
}

t.test('parts of a tensor: writing, reading, kernels, clears and copies keep to the part', async (t) => {
  const { gpu, whole, offsets, parts } = await parted();
  const want = new Float32Array(whole.elements).fill(9);
  const set = (i: number, value: (k: number, old: number) => number): void => {
    const at = offsets[i]! / 4;
    for (let k = 0; k < parts[i]!.elements; k++) want[at + k] = value(k, want[at + k]!);
  };
  const same = async (what: string): Promise<void> => void t.same([...(await read(whole))], [...want], what);
  parts.forEach((part, i) => {
    part.write(Float32Array.from({ length: part.elements }, (_, k) => 10 * i + k));
    set(i, (k) => 10 * i + k);
  });
  await same('written');
  t.same([...(await debugRead(parts[1]!, 3, 4))], [14, 15, 16], 'read from an element on');
  t.same([...(await debugReadU32(parts[2]!))], [...new Uint32Array(Float32Array.of(20).buffer)]);
  await runOnce(gpu, (p) => scale(p, parts[1]!.as([7, 5]), 2));
  set(1, (_, old) => 2 * old);
  await same('a kernel');
  await runOnce(gpu, (p) => {
    p.clear(parts[1]!);
    p.clear(parts[2]!);
  });
  for (const i of [1, 2]) set(i, () => 0);
  await same('cleared');
  const other = output(gpu, 'other', [7, 5], 4);
  await runOnce(gpu, (p) => p.copy(other, parts[1]!));
  set(1, () => 4);
  await same('copied to');
  const [p0, p3] = [output(gpu, 'p0', [3]), output(gpu, 'p3', [64, 2])];
  await runOnce(gpu, (p) => {
    p.copy(parts[3]!, p3);
    mix(p, { x: parts[0]!, y: p0 }, 1);
  });
  t.same([...(await read(p3))], [...(await read(parts[3]!))], 'copied from');
  t.same([...(await read(p0))], [0, 1, 2], 'read by a kernel');
  const ring = new ReadbackRing(gpu, 12, 1);
  const encoder = gpu.device.createCommandEncoder();
  const captured = ring.capture(encoder, [parts[4]!, parts[2]!]);
  gpu.device.queue.submit([encoder.finish()]);
  t.same([...new Float32Array(await captured())], [40, 41, 0], 'captured');
});

t.test('parts are told from each other where they stand packed, and the whole is written with them', async (t) => {
  const { gpu, whole, parts } = await parted();
  const packed = output(gpu, 'packed', [8]);
  const p = new Program(gpu, 'held');
  const held = (): boolean[] => parts.map((part) => p.heldOperand(part, 'copy') === packed);
  const hold = (...list: number[]): void => list.forEach((i) => p.holdOperand(parts[i]!, 'copy', packed));
  hold(1, 3);
  t.same(held(), [false, true, false, true, false]);
  t.ok(p.heldOperand(parts[1]!.flat(), 'copy'), 'whatever its shape');
  p.clear(parts[1]!.flat());
  t.same(held(), [false, false, false, true, false], 'a part is written');
  hold(1);
  p.clear(whole);
  t.same(held(), [false, false, false, false, false], 'the whole is');
  hold(1, 3);
  p.clear(packed);
  t.same(held(), [false, false, false, false, false], 'what they were packed into is');
  p.holdOperand(parts[0]!, 'copy', packed, true);
  t.throws(() => mix(p, { x: parts[0]!, y: output(gpu, 'y', [3]) }, 1), /made as a packed operand alone/);
  t.throws(() => mix(p, { x: whole, y: output(gpu, 'y', [whole.elements]) }, 1), /made as a packed operand alone/, 'nor may the whole be read');
});

t.test('a dispatch that reads one part and writes another is refused: a buffer is one or the other in it', async (t) => {
  const { gpu, parts } = await parted();
  const p = new Program(gpu, 'both');
  t.throws(() => mix(p, { x: parts[4]!, y: parts[3]!.part('two', [2], 0) }, 1), /mix: x: part 4 \[2\] and y: two \[2\] lie in one buffer/);
});

t.test('a part that does not fit is refused, and the memory is the whole’s', async (t) => {
  const { gpu, whole, parts } = await parted();
  t.throws(() => whole.part('beyond', [3], whole.bytes), /beyond \[3\] does not fit whole .* at byte/);
  t.throws(() => whole.part('crooked', [3], 4), /does not fit/);
  t.match(parts[1]!.describe(), 'part 1 [7, 5]');
  const before = gpu.bytesNow;
  parts[1]!.destroy();
  t.equal(gpu.bytesNow, before);
  t.equal(parts[1]!.flat().part('inner', [2], 0).whole, whole);
  whole.destroy();
  t.equal(gpu.bytesNow, before - Math.ceil(whole.bytes / 16) * 16);
});
