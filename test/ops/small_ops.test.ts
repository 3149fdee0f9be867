import t from 'tap';
import { adamw } from '../../src/gpu/ops/adamw.js';
import { embed, embedBackward } from '../../src/gpu/ops/embed.js';
import { gatherRows, gatherRowsBackward } from '../../src/gpu/ops/gather_rows.js';
import { gradNorm, gradNormSlots, PARTIAL_BLOCK, stepState } from '../../src/gpu/ops/grad_norm.js';
import { rope, ropeBackward, ropeTable } from '../../src/gpu/ops/rope.js';
import { scatterRows } from '../../src/gpu/ops/scatter_rows.js';
import { swiglu, swigluBackward } from '../../src/gpu/ops/swiglu.js';
import { Program } from '../../src/gpu/program.js';
import { debugReadU32 } from '../../src/gpu/readback.js';
import { Dyn, partBytes, type Tensor } from '../../src/gpu/tensor.js';
import { pack } from '../../src/model/batch/pack.js';
import { close, elementwise, exact, reduce, transcendental } from '../helpers/close.js';
import { dot, finiteDifference } from '../helpers/finite_diff.js';
import { output, read, runOnce, testGpu, upload } from '../helpers/gpu.js';
import { normals, rng } from '../helpers/rng.js';
import * as twin from '../reference/small_ops.js';

const fd = { atol: 1e-8, rtol: 1e-8, name: 'fd' };

t.test('swiglu: twin against finite differences, kernel against the twin', async (t) => {
  const gpu = await testGpu();
  for (const [N, F] of [[1, 1], [5, 123], [33, 7], [1, 4], [19, 172]] as const) {
    const [g, u, d] = [normals(1, N * F, 3), normals(2, N * F), normals(3, N * F)];
    const back = twin.swigluBackward(g, u, d);
    if (N === 1) {
      close(t, 'dgate', back.dgate, finiteDifference((x) => dot(twin.swiglu(x, u), d), g), fd);
      close(t, 'dup', back.dup, finiteDifference((x) => dot(twin.swiglu(g, x), d), u), fd);
    }
    const rows = new Dyn('N', N);
    const [gate, up, dh] = [upload(gpu, 'g', [rows, F], g), upload(gpu, 'u', [rows, F], u), upload(gpu, 'd', [rows, F], d)];
    const [h, dgate, dup] = [output(gpu, 'h', [rows, F]), output(gpu, 'dg', [rows, F], 4), output(gpu, 'du', [rows, F], 4)];
    await runOnce(gpu, (p) => { swiglu(p, { gate, up, h }); swigluBackward(p, { gate, up, dh, dgate, dup }); }, { N });
    close(t, 'h', await read(h), twin.swiglu(g, u), transcendental, [N, F]);
    close(t, 'dgate', await read(dgate), back.dgate, transcendental, [N, F]);
    close(t, 'dup', await read(dup), back.dup, transcendental, [N, F]);
  }
});

t.test('rope turns by the row’s position; backward undoes it', async (t) => {
  const gpu = await testGpu();
  for (const [N, heads, C] of [[1, 1, 2], [7, 3, 6], [12, 4, 8], [37, 3, 64]] as const) {
    const W = heads * C;
    const xs = normals(N, N * W);
    const positions = Uint32Array.from({ length: N }, (_, i) => (i * 37) % 50);
    const x = upload(gpu, 'x', [N, W], xs);
    const table = upload(gpu, 'table', [50, C], ropeTable(50, Array.from({ length: C / 2 }, (_, c) => 10000 ** ((-2 * c) / C))));
    const position = upload(gpu, 'position', [N], positions);
    await runOnce(gpu, (p) => rope(p, { x, table, position }));
    close(t, 'turned', await read(x), twin.rope(xs, positions, heads, C, 10000), elementwise, [N, W]);
    await runOnce(gpu, (p) => ropeBackward(p, { x, table, position }));
    close(t, 'and back', await read(x), xs, elementwise, [N, W]);
    const [bias, y] = [normals(N + 1, W), upload(gpu, 'y', [N, W], xs)];
    await runOnce(gpu, (p) => rope(p, { x: y, table, position, bias: upload(gpu, 'bias', [W], bias) }));
    close(t, 'a bias before', await read(y), twin.rope(xs.map((v, i) => v + bias[i % W]!), positions, heads, C, 10000), elementwise, [N, W]);
  }
});

t.test('embedding in pieces, its gradient by sorted lists; gather and scatter', async (t) => {
  const gpu = await testGpu();
  const [V, D] = [11, 5];
  const b = pack([{ id: 0, prompt: [3, 10, 3], branches: [[0, 3], [7]] }, { id: 1, prompt: [10], branches: [[5, 5, 5]] }]);
  const { N, S, U } = b.values;
  const table = normals(1, V * D);
  const dys = normals(2, N * D);
  const cuts = [0, 4, 10, V];
  const pieces = cuts.slice(0, -1).map((first, i) => ({ first, table: upload(gpu, 'piece', [cuts[i + 1]! - first, D], table.slice(first * D, cuts[i + 1]! * D)), dtable: output(gpu, 'dpiece', [cuts[i + 1]! - first, D], 1) }));
  const x = output(gpu, 'x', [N, D]);
  const u32 = (name: string, a: Uint32Array): ReturnType<typeof upload> => upload(gpu, name, [a.length], a);
  const ids = u32('ids', b.ids);
  await runOnce(gpu, (p) => {
    embed(p, { ids, pieces, x });
    embedBackward(p, { dx: upload(gpu, 'dx', [N, D], dys), uniqueIds: u32('u', b.uniqueIds), uniqueOffsets: u32('o', b.uniqueOffsets), rows: u32('r', b.uniqueRows), pieces });
  }, { N, U });
  close(t, 'rows', await read(x), twin.embed(table, b.ids, D), exact, [N, D]);
  const want = twin.embedBackward(dys, b.ids, V, D).map((v) => v + 1);
  const got = new Float32Array((await Promise.all(pieces.map((p) => read(p.dtable)))).flatMap((a) => [...a]));
  close(t, 'gradient adds', got, want, reduce(N), [V, D]);

  const y = output(gpu, 'y', [S, D]);
  const src = u32('src', b.src);
  const ds = normals(4, S * D);
  const dx = output(gpu, 'dx', [N, D], 9);
  const cache = output(gpu, 'cache', [S + 3, D], -1);
  const places = Uint32Array.from({ length: S }, (_, i) => (i * 2) % (S + 3));
  await runOnce(gpu, (p) => {
    gatherRows(p, { x, src, y });
    gatherRowsBackward(p, { dy: upload(gpu, 'dy', [S, D], ds), offsets: u32('off', b.gatherOffsets), list: u32('list', b.gatherList), dx });
    scatterRows(p, { x: y, dst: u32('dst', places), y: cache });
  }, { N, S });
  const gathered = twin.embed(twin.embed(table, b.ids, D), b.src, D);
  close(t, 'gathered', await read(y), gathered, exact, [S, D]);
  close(t, 'gather backward, zero where nothing is scored', await read(dx), twin.embedBackward(ds, b.src, N, D), reduce(4), [N, D]);
  const c = await read(cache);
  places.forEach((place, s) => t.same([...c.subarray(place * D, place * D + D)], [...gathered.subarray(s * D, s * D + D)]));
});

for (const shape of [[7, 11], [6, 16]]) t.test(`AdamW of ${shape.join(' x ')}, clipping, t and the skip: ten steps against the twin, one of them not finite`, async (t) => {
  const gpu = await testGpu();
  const E = shape[0]! * shape[1]!;
  const start = normals(1, E);
  const value = upload(gpu, 'value', shape, start);
  const [grad, m, v] = [output(gpu, 'grad', shape), output(gpu, 'm', shape), output(gpu, 'v', shape)];
  const partials = output(gpu, 'partials', [gradNormSlots([grad])]);
  const state = output(gpu, 'state', [16]);
  const o = { lr: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.1, maxNorm: 3 };
  const one = { oneMinusBeta1: 1 - o.beta1, oneMinusBeta2: 1 - o.beta2 };
  const want = twin.adamw(start, o);
  for (let step = 0; step < 10; step++) {
    const g = normals(step + 10, E, step === 2 ? 0.01 : 1);
    if (step === 5) g[3] = NaN;
    grad.write(g);
    await runOnce(gpu, (p) => {
      gradNorm(p, { grads: [grad], partials });
      stepState(p, { partials, stepState: state }, { maxNorm: o.maxNorm, beta1: o.beta1, beta2: o.beta2, ...one });
      adamw(p, { value, grad, m, v, stepState: state }, { lr: o.lr, beta1: o.beta1, beta2: o.beta2, ...one, epsilon: o.epsilon, weightDecay: o.weightDecay });
    });
    const s = await read(state);
    if (step === 5) {
      t.same([s[2], s[3], s[6]], [1, 5, 1], 'skipped: the flag is set, t stands, the skip is counted');
      continue;
    }
    want.step(g);
    close(t, `norm ${step}`, [s[0]!, s[1]!], [want.norm, want.clip], reduce(E));
    close(t, `bias corrections ${step}`, [s[4]!, s[5]!], [1 - 0.9 ** want.t, 1 - 0.999 ** want.t], elementwise);
    close(t, `value ${step}`, await read(value), want.value, { atol: 2e-6, rtol: 1e-5, name: 'ten steps' });
  }
  t.equal((await read(state))[3], 9);
});

t.test('gradient norm of several tensors, some of several blocks, some ending within four elements: eight a dispatch, one a dispatch, and parts of one buffer give the same bits', async (t) => {
  const gpu = await testGpu();
  const sizes = [2 * PARTIAL_BLOCK + 17, 3, PARTIAL_BLOCK, 1, 64, PARTIAL_BLOCK + 4, 7, 12, 2, PARTIAL_BLOCK - 1, 5, 6 * PARTIAL_BLOCK];
  const data = sizes.map((n, i) => normals(9 + i, n, 2));
  // A tensor ends where its buffer may not: what stands behind it is not part of it.
  const alone = data.map((g, i) => {
    const grad = output(gpu, `g${i}`, [g.length]);
    gpu.device.queue.writeBuffer(grad.buffer, 0, new Float32Array(Math.ceil(g.length / 4) * 4).fill(NaN));
    grad.write(g);
    return grad;
  });
  const whole = output(gpu, 'all', [sizes.reduce((n, size) => n + partBytes(4 * size), 0) / 4], NaN);
  let offset = 0;
  const parts = data.map((g, i) => {
    const part = whole.part(`part ${i}`, [g.length], offset);
    offset += partBytes(part.bytes);
    part.write(g);
    return part;
  });
  const state = output(gpu, 'state', [16]);
  const square = data.map((g) => g.reduce((a, x) => a + x * x, 0)).reduce((a, b) => a + b);
  const run = async (what: string, grads: Tensor[], dispatches: number, grouped = true): Promise<number[]> => {
    gpu.without = new Set(grouped ? [] : ['grad_norm_grouped']);
    const partials = output(gpu, 'partials', [gradNormSlots(grads)], NaN);
    const p = new Program(gpu, what);
    gradNorm(p, { grads, partials });
    gpu.without = new Set();
    t.equal(p.length, dispatches, `${what}: dispatches`);
    stepState(p, { partials, stepState: state }, { maxNorm: 0, beta1: 0.9, beta2: 0.999, oneMinusBeta1: 0.1, oneMinusBeta2: 0.001 });
    await p.submit();
    const s = await read(state);
    close(t, `${what}: norm, no clipping at 0`, [s[0]!, s[1]!], [Math.sqrt(square), 1], reduce(sizes.reduce((a, b) => a + b)));
    return [...(await debugReadU32(partials)), s[0]!];
  };
  const want = await run('one a dispatch', alone, sizes.length, false);
  t.same(await run('eight a dispatch', alone, 2), want, 'eight a dispatch');
  t.same(await run('again', alone, 2), want, 'again');
  t.same(await run('parts', parts, 1), want, 'parts of one buffer');
  t.same(await run('parts, one a dispatch', parts, sizes.length, false), want, 'parts, one a dispatch');
  const both = alone.map((grad, i) => (i % 2 === 0 ? grad : parts[i]!));
  t.same(await run('some parts', both, 2), want, 'some are parts');
  // Each tensor's own slots, so that a wrong block shows beside the large ones.
  const got = new Float32Array(Uint32Array.from(want.slice(0, -1)).buffer);
  let slot = 0;
  data.forEach((g, i) => {
    for (let at = 0; at < g.length; at += PARTIAL_BLOCK) close(t, `tensor ${i} from ${at}`, [got[slot++]!], [g.subarray(at, at + PARTIAL_BLOCK).reduce((a, x) => a + x * x, 0)], reduce(PARTIAL_BLOCK));
  });
  t.equal(slot, got.length);
});

t.test('the generator of test numbers is seeded', async (t) => {
  t.equal(rng(1).uniform(), rng(1).uniform());
});
