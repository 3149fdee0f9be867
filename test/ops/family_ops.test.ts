import t from 'tap';
import { addBias, addBiasBackward } from '../../src/gpu/ops/bias.js';
import { dropout } from '../../src/gpu/ops/dropout.js';
import { Head } from '../../src/gpu/ops/head.js';
import { STATS } from '../../src/gpu/ops/head_kernels.js';
import { mix } from '../../src/gpu/ops/mix.js';
import { GAIN_ROWS, rmsNorm, rmsNormBackward } from '../../src/gpu/ops/rms_norm.js';
import { scale } from '../../src/gpu/ops/scale.js';
import { softCap } from '../../src/gpu/ops/soft_cap.js';
import { swiglu, swigluBackward } from '../../src/gpu/ops/swiglu.js';
import { scalar } from '../../src/gpu/program.js';
import { Dyn } from '../../src/gpu/tensor.js';
import { close, elementwise, reduce, transcendental } from '../helpers/close.js';
import { dot, finiteDifference } from '../helpers/finite_diff.js';
import { output, read, runOnce, testGpu, upload } from '../helpers/gpu.js';
import { normals } from '../helpers/rng.js';
import * as headTwin from '../reference/head.js';
import * as matmul from '../reference/matmul.js';
import * as norm from '../reference/rms_norm.js';
import * as twin from '../reference/small_ops.js';

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
  const [y, rstd, dx, dgain, partial] = [output(gpu, 'y', [N, D]), output(gpu, 'rstd', [N]), output(gpu, 'dx', [N, D], 1), output(gpu, 'dgain', [D], 2), output(gpu, 'partial', [1, D])];
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
