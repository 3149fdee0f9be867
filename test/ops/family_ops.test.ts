import t from 'tap';
import { GAIN_ROWS } from '../../src/gpu/ops/column_sums.js';
import { activation, activationBackward } from '../../src/gpu/ops/activation.js';
import { addBias, addBiasBackward } from '../../src/gpu/ops/bias.js';
import { dropout } from '../../src/gpu/ops/dropout.js';
import { Head } from '../../src/gpu/ops/head.js';
import { STATS } from '../../src/gpu/ops/head_kernels.js';
import { embedAdd } from '../../src/gpu/ops/embed.js';
import { layerNorm, layerNormBackward } from '../../src/gpu/ops/layer_norm.js';
import { mix } from '../../src/gpu/ops/mix.js';
import { rmsNorm, rmsNormBackward } from '../../src/gpu/ops/rms_norm.js';
import { scale } from '../../src/gpu/ops/scale.js';
import { rope, ropeBackward, ropeTable } from '../../src/gpu/ops/rope.js';
import { softCap } from '../../src/gpu/ops/soft_cap.js';
import { swiglu, swigluBackward } from '../../src/gpu/ops/swiglu.js';
import { scalar } from '../../src/gpu/program.js';
import { Dyn } from '../../src/gpu/tensor.js';
import { close, elementwise, reduce, transcendental } from '../helpers/close.js';
import { dot, finiteDifference } from '../helpers/finite_diff.js';
import { output, read, runOnce, testGpu, upload } from '../helpers/gpu.js';
import { normals } from '../helpers/rng.js';
import * as encoder from '../reference/encoder.js';
import * as headTwin from '../reference/head.js';
import * as matmul from '../reference/matmul.js';
import * as norm from '../reference/rms_norm.js';
import * as twin from '../reference/small_ops.js';

type Out = ReturnType<typeof output>;
const fd = { atol: 1e-8, rtol: 1e-8, name: 'fd' };

t.test('geglu: twin against finite differences, kernel against the twin, far out too', async (t) => {
  const gpu = await testGpu();
  for (const [N, F] of [[1, 5], [5, 123], [33, 7]] as const) {
    const [g, u, d] = [normals(1, N * F, 3), normals(2, N * F), normals(3, N * F)];
    if (N > 1) g.set([-1e4, -40, 40, 1e4], 0);
    const back = twin.gegluBackward(g, u, d);
    if (N === 1) {
      close(t, 'dgate', back.dgate, finiteDifference((x) => dot(twin.geglu(x, u), d), g), fd);
      close(t, 'dup', back.dup, finiteDifference((x) => dot(twin.geglu(g, x), d), u), fd);
    }
    const rows = new Dyn('N', N);
    const [gate, up, dh] = [upload(gpu, 'g', [rows, F], g), upload(gpu, 'u', [rows, F], u), upload(gpu, 'd', [rows, F], d)];
    const [h, dgate, dup] = [output(gpu, 'h', [rows, F]), output(gpu, 'dg', [rows, F], 4), output(gpu, 'du', [rows, F], 4)];
    await runOnce(gpu, (p) => { swiglu(p, { gate, up, h }, 'gelu_tanh'); swigluBackward(p, { gate, up, dh, dgate, dup }, 'gelu_tanh'); }, { N });
    close(t, 'h', await read(h), twin.geglu(g, u), transcendental, [N, F]);
    close(t, 'dgate', await read(dgate), back.dgate, transcendental, [N, F]);
    close(t, 'dup', await read(dup), back.dup, transcendental, [N, F]);
  }
});

t.test('gelu in its erf form, gated and alone: twin against finite differences, kernels against the twin', async (t) => {
  const gpu = await testGpu();
  for (const [N, F] of [[1, 5], [5, 123], [33, 7]] as const) {
    const [g, u, d] = [normals(1, N * F, 3), normals(2, N * F), normals(3, N * F)];
    if (N > 1) g.set([-1e30, -40, -13.5, -5, -1.4142, 1.4142, 5, 13.5, 40, 1e30], 0);
    const back = twin.gegluBackward(g, u, d, 'gelu');
    if (N === 1) close(t, 'dgate', back.dgate, finiteDifference((x) => dot(twin.geglu(x, u, 'gelu'), d), g), fd);
    const rows = new Dyn('N', N);
    const [gate, up, dh] = [upload(gpu, 'g', [rows, F], g), upload(gpu, 'u', [rows, F], u), upload(gpu, 'd', [rows, F], d)];
    const [h, dgate, dup, alone, dx] = ['h', 'dg', 'du', 'a', 'dx'].map((name) => output(gpu, name, [rows, F], 4)) as [Out, Out, Out, Out, Out];
    await runOnce(gpu, (p) => {
      swiglu(p, { gate, up, h }, 'gelu');
      swigluBackward(p, { gate, up, dh, dgate, dup }, 'gelu');
      activation(p, { x: gate, h: alone }, 'gelu');
      activationBackward(p, { x: gate, dh, dx }, 'gelu');
    }, { N });
    // What is far out would hide the rest: compared apart.
    const near = [...g.keys()].filter((i) => Math.abs(g[i]!) < 100);
    const of = (a: ArrayLike<number>): Float64Array => Float64Array.from(near, (i) => a[i]!);
    close(t, 'h', of(await read(h)), of(twin.geglu(g, u, 'gelu')), transcendental);
    close(t, 'dgate', of(await read(dgate)), of(back.dgate), transcendental);
    close(t, 'dup', of(await read(dup)), of(back.dup), transcendental);
    const ones = new Float32Array(N * F).fill(1);
    close(t, 'alone', of(await read(alone)), of(twin.geglu(g, ones, 'gelu')), transcendental);
    close(t, 'dx', await read(dx), twin.gegluBackward(g, ones, d, 'gelu').dgate, transcendental);
    if (N > 1) t.same([(await read(alone))[0] === 0, (await read(alone))[9]], [true, Math.fround(1e30)], 'far out');
  }
  for (const kind of ['silu', 'gelu_tanh'] as const) {
    const [N, F] = [3, 11];
    const [x, dh, ones] = [normals(4, N * F, 2), normals(5, N * F), new Float32Array(N * F).fill(1)];
    const [h, dx] = [output(gpu, 'h', [N, F]), output(gpu, 'dx', [N, F], 3)];
    await runOnce(gpu, (p) => { activation(p, { x: upload(gpu, 'x', [N, F], x), h }, kind); activationBackward(p, { x: upload(gpu, 'x', [N, F], x), dh: upload(gpu, 'dh', [N, F], dh), dx }, kind); });
    const [value, back] = kind === 'silu' ? [twin.swiglu(x, ones), twin.swigluBackward(x, ones, dh)] : [twin.geglu(x, ones), twin.gegluBackward(x, ones, dh)];
    close(t, kind, await read(h), value, transcendental);
    close(t, `d${kind}`, await read(dx), back.dgate, transcendental);
  }
});

t.test('layer_norm: what it keeps, and its gradients, added; capacity above N; a large common offset', async (t) => {
  const gpu = await testGpu();
  for (const [N, D, offset] of [[1, 3, 0], [5, 123, 0], [67, 33, 0], [9, 40, 100]] as const) {
    const rows = new Dyn('N', N + 3);
    const pad = (a: Float32Array): Float32Array => { const b = new Float32Array((N + 3) * D).fill(9); b.set(a); return b; };
    const [xs, gains, biases, dys] = [normals(1, N * D).map((v) => v + offset), normals(2, D).map((v) => v + 1), normals(3, D), normals(4, N * D)];
    const want = encoder.layerNormBackward(xs, gains, 1e-5, dys);
    if (D === 123) close(t, 'twin', want.dx, finiteDifference((x) => dot(encoder.layerNorm(x, undefined, gains, biases, 1e-5), dys), xs), { ...fd, atol: 1e-7 });
    const [x, gain, bias, dy] = [upload(gpu, 'x', [rows, D], pad(xs)), upload(gpu, 'gain', [D], gains), upload(gpu, 'bias', [D], biases), upload(gpu, 'dy', [rows, D], pad(dys))];
    const [y, mean, rstd, dx, dgain, dbias] = [output(gpu, 'y', [rows, D], 9), output(gpu, 'mean', [rows]), output(gpu, 'rstd', [rows]), output(gpu, 'dx', [rows, D], 1), output(gpu, 'dgain', [D], 2), output(gpu, 'dbias', [D], 3)];
    const partial = output(gpu, 'partial', [Math.ceil((N + 3) / GAIN_ROWS), D], 5);
    await runOnce(gpu, (p) => {
      layerNorm(p, { x, gain, bias, y }, 1e-5, { mean, rstd });
      layerNormBackward(p, { x, gain, mean, rstd, dy, dx, dgain, dbias, partial });
    }, { N });
    // The mean of values near 100 is off by their own rounding.
    const off = offset > 0 ? { atol: 2e-5, rtol: 2e-5, name: 'offset' } : reduce(D);
    close(t, 'y', (await read(y)).subarray(0, N * D), encoder.layerNorm(xs, undefined, gains, biases, 1e-5), off, [N, D]);
    close(t, 'dx adds', (await read(dx)).subarray(0, N * D), want.dx.map((v) => v + 1), off, [N, D]);
    t.equal((await read(dx))[N * D], 1, 'rows past N are not touched');
    close(t, 'dgain adds', await read(dgain), want.dgain.map((v) => v + 2), offset > 0 ? off : reduce(N), [D]);
    close(t, 'dbias adds', await read(dbias), want.dbias.map((v) => v + 3), reduce(N), [D]);
  }
});

t.test('rope of a part of each head, scaled, from a later table; rows of a table added', async (t) => {
  const gpu = await testGpu();
  const [N, heads, C, R, first] = [7, 3, 10, 6, 20];
  const xs = normals(1, N * heads * C);
  const positions = Uint32Array.of(0, 5, 19, 2, 2, 11, 7);
  const tables = new Float32Array(40 * R).fill(NaN);
  tables.set(ropeTable(20, Array.from({ length: R / 2 }, (_, c) => 500 ** ((-2 * c) / R)), 1.3), first * R);
  const [x, table, position] = [upload(gpu, 'x', [N, heads * C], xs), upload(gpu, 'table', [40, R], tables), upload(gpu, 'position', [N], positions)];
  await runOnce(gpu, (p) => rope(p, { x, table, position }, { C, first }));
  close(t, 'turned', await read(x), twin.rope(xs, positions, heads, C, 500, R, 1.3), elementwise, [N, heads, C]);
  // Turned back and scaled again, as a gradient is: 1.3² of where it began, beyond R as it was.
  await runOnce(gpu, (p) => ropeBackward(p, { x, table, position }, { C, first }));
  close(t, 'back', await read(x), xs.map((v, i) => (i % C < R ? v * 1.69 : v)), elementwise, [N, heads, C]);

  const [D, T] = [9, 20];
  const [ys, rows] = [normals(2, N * D), normals(3, T * D)];
  const y = upload(gpu, 'y', [N, D], ys);
  await runOnce(gpu, (p) => embedAdd(p, { ids: position, table: upload(gpu, 'rows', [T, D], rows), x: y }));
  close(t, 'added', await read(y), twin.embed(rows, positions, D).map((v, i) => v + ys[i]!), elementwise, [N, D]);
});

t.test('bias: added to every row, its gradient the column sums; capacity above N', async (t) => {
  const gpu = await testGpu();
  for (const [N, D] of [[1, 1], [5, 123], [67, 33]] as const) {
    const rows = new Dyn('N', N + 3);
    const pad = (a: Float32Array): Float32Array => { const b = new Float32Array((N + 3) * D).fill(9); b.set(a); return b; };
    const [ys, bs, ds] = [normals(1, N * D), normals(2, D), normals(3, N * D)];
    if (N === 5) close(t, 'twin', twin.addBiasBackward(ds, D), finiteDifference((b) => dot(twin.addBias(ys, b), ds), bs), fd);
    const [y, b, dy, db] = [upload(gpu, 'y', [rows, D], pad(ys)), upload(gpu, 'b', [D], bs), upload(gpu, 'dy', [rows, D], pad(ds)), output(gpu, 'db', [D], 2)];
    const partial = output(gpu, 'partial', [Math.ceil((N + 3) / GAIN_ROWS), D], 5);
    await runOnce(gpu, (p) => { addBias(p, { y, b }); addBiasBackward(p, { dy, db, partial }); }, { N });
    close(t, 'y', (await read(y)).subarray(0, N * D), twin.addBias(ys, bs), elementwise, [N, D]);
    t.equal((await read(y))[N * D], 9, 'rows past N are not touched');
    close(t, 'db adds', await read(db), twin.addBiasBackward(ds, D).map((v) => v + 2), reduce(N), [D]);
  }
});

t.test('rms_norm with gains stored less 1, and added to a residual', async (t) => {
  const gpu = await testGpu();
  const [N, D] = [9, 37];
  const [xs, gains, dys, adds] = [normals(1, N * D), normals(2, D, 0.2), normals(3, N * D), normals(4, N * D)];
  const whole = gains.map((g) => g + 1);
  const [x, gain, dy, add] = [upload(gpu, 'x', [N, D], xs), upload(gpu, 'gain', [D], gains), upload(gpu, 'dy', [N, D], dys), upload(gpu, 'add', [N, D], adds)];
  const [y, rstd, dx, dgain, partial] = [output(gpu, 'y', [N, D]), output(gpu, 'rstd', [N]), output(gpu, 'dx', [N, D], 1), output(gpu, 'dgain', [D], 2), output(gpu, 'partial', [Math.ceil(N / GAIN_ROWS), D])];
  await runOnce(gpu, (p) => {
    rmsNorm(p, { x, gain, y, rstd, add }, 1e-6, 1);
    rmsNormBackward(p, { x, gain, rstd, dy, dx, dgain, partial }, 1);
  });
  const back = norm.rmsNormBackward(xs, whole, 1e-6, dys);
  close(t, 'y', await read(y), norm.rmsNorm(xs, whole, 1e-6).y.map((v, i) => v + adds[i]!), reduce(D), [N, D]);
  close(t, 'dx adds', await read(dx), back.dx.map((v) => v + 1), reduce(D), [N, D]);
  close(t, 'dgain adds', await read(dgain), back.dgain.map((v) => v + 2), reduce(N), [D]);
});

t.test('scale: in place, rows past N untouched', async (t) => {
  const gpu = await testGpu();
  for (const [N, R] of [[1, 1], [5, 3], [67, 16]] as const) {
    const xs = normals(N, N * R);
    const tensor = upload(gpu, 'x', [new Dyn('N', N + 2), R], Float32Array.from({ length: (N + 2) * R }, (_, i) => xs[i] ?? 7));
    await runOnce(gpu, (p) => scale(p, tensor, 0.37), { N });
    const got = await read(tensor);
    close(t, `${N} x ${R}`, got.subarray(0, N * R), twin.scale(xs, 0.37), elementwise, [N, R]);
    t.ok(got.subarray(N * R).every((v) => v === 7));
  }
});

t.test('dropout: the very elements of the twin, their share, p = 0 copies, the mirror adds', async (t) => {
  const gpu = await testGpu();
  const [N, I] = [67, 123];
  const xs = normals(1, N * I);
  const keys = Uint32Array.from({ length: N }, (_, i) => Math.imul(i + 1, 0x9e3779b1) >>> 0);
  const rows = new Dyn('N', N);
  const x = upload(gpu, 'x', [rows, I], xs);
  const k = upload(gpu, 'keys', [rows], keys);
  for (const [p, stepKey, matrix] of [[0.1, 4294967295, 3], [0.5, 12345, 200], [0, 1, 0]] as const) {
    const [y, z] = [output(gpu, 'y', [rows, I], 9), output(gpu, 'z', [rows, I], 2)];
    await runOnce(gpu, (program) => {
      dropout(program, { x, y }, { keys: k, stepKey: scalar('step'), matrix, p });
      dropout(program, { x, y: z }, { keys: k, stepKey: scalar('step'), matrix, p: scalar('p') }, { accumulate: true });
    }, { N, step: stepKey, p });
    const want = twin.dropout(xs, keys, stepKey, matrix, p);
    const got = await read(y);
    close(t, `p ${p}`, got, want, elementwise, [N, I]);
    close(t, 'adds', await read(z), want.map((v) => v + 2), elementwise, [N, I]);
    if (p === 0) t.same([...got], [...xs]);
    else t.ok(Math.abs(got.filter((v) => v === 0).length / (N * I) / p - 1) < 0.1, 'about that share falls');
  }
});

t.test('soft cap: in place, and through the head: statistics and gradients of c·logp + k·KL', async (t) => {
  const gpu = await testGpu();
  const f = Float32Array.of(-1e5, -7, -0.001, 0, 0.5, 6, 30, 1e5);
  const tensor = upload(gpu, 'f', [2, 4], f);
  await runOnce(gpu, (p) => softCap(p, tensor, 6));
  close(t, 'capped', await read(tensor), twin.softCap(f, 6), transcendental);

  const [S, D, V, cap] = [5, 12, 53, 3];
  const [h, w, hr, wr] = [normals(1, S * D), normals(2, V * D, 0.8), normals(3, S * D), normals(4, V * D, 0.8)];
  const rows = (a: ArrayLike<number>): number[][] => Array.from({ length: S }, (_, i) => Array.from({ length: V }, (_, j) => a[i * V + j]!));
  const [z, zr] = [rows(matmul.nt(h, w, S, D, V)), rows(matmul.nt(hr, wr, S, D, V))];
  const [capped, cappedRef] = [z, zr].map((list) => list.map((row) => [...twin.softCap(row, cap)])) as [number[][], number[][]];
  const labels = Uint32Array.from({ length: S }, (_, s) => (s * 31 + 52) % V);
  const want = [...labels].map((y, s) => headTwin.token(capped[s]!, cappedRef[s]!, y, 0.01));
  const dw = output(gpu, 'dw', [V, D], 0);
  const head = new Head({ gpu, S, D, V, mode: 'hidden', pieces: [upload(gpu, 'w', [V, D], w)], refPieces: [upload(gpu, 'wr', [V, D], wr)], dPieces: [dw], rounded: false, bf16: false, tile: 20, klGradient: true, softCap: cap });
  const [hidden, refHidden, labelTensor, dHidden] = [upload(gpu, 'h', [S, D], h), upload(gpu, 'hr', [S, D], hr), upload(gpu, 'y', [S], labels), output(gpu, 'dh', [S, D])];
  const [c, k] = [-0.7, 0.4];
  await runOnce(gpu, (p) => {
    head.forward(p, { hidden, labels: labelTensor, refLogps: upload(gpu, 'r', [S], Float32Array.from(want, (x) => x.refLogp)), refHidden });
    head.backward(p, { hidden, labels: labelTensor, refHidden, coef: upload(gpu, 'coef', [1, 2], Float32Array.of(c, k)), seqOf: upload(gpu, 'seq', [S], new Uint32Array(S)), dHidden });
  });
  const stats = await read(head.stats);
  for (const [column, key] of [['logp', 'logp'], ['lse', 'lse'], ['kl_policy_ref', 'klPolicyRef'], ['kl_ref_policy', 'klRefPolicy'], ['delta_plus', 'deltaPlus'], ['entropy', 'entropy']] as const) {
    const worst = Math.max(...want.map((x, s) => Math.abs(stats[s * STATS.length + STATS.indexOf(column)]! - x[key])));
    t.ok(worst < 1e-5, `${column} off by ${worst}`);
  }
  const value = (zs: Float64Array): number => [...labels].reduce((n, y, s) => { const x = headTwin.token([...twin.softCap(zs.subarray(s * V, (s + 1) * V), cap)], cappedRef[s]!, y, 0.01); return n + c * x.logp + k * x.klRefPolicy; }, 0);
  const dz = finiteDifference(value, Float64Array.from(z.flat()));
  close(t, 'dhidden', await read(dHidden), matmul.nn(dz, w, S, V, D), reduce(V), [S, D]);
  close(t, 'dw', await read(dw), matmul.tn(dz, h, S, V, D), reduce(64), [V, D]);
});

t.test('mix: α of one, the rest of the other; α = 1 copies to the bit', async (t) => {
  const gpu = await testGpu();
  for (const [E, alpha] of [[1, 0.6], [1000, 0.25], [77, 1]] as const) {
    const [xs, ys] = [normals(1, E), normals(2, E)];
    const [x, y] = [upload(gpu, 'x', [E], xs), upload(gpu, 'y', [E], ys)];
    await runOnce(gpu, (p) => mix(p, { x, y }, alpha));
    if (alpha === 1) t.same([...(await read(y))], [...xs]);
    else close(t, 'mixed', await read(y), twin.mix(xs, ys, alpha), elementwise);
  }
});
