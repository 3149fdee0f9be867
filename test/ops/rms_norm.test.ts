import t from 'tap';
import { GAIN_ROWS } from '../../src/gpu/ops/column_sums.js';
import { rmsNorm, rmsNormBackward, rmsNormNext } from '../../src/gpu/ops/rms_norm.js';
import type { FusedPath } from '../../src/gpu/paths.js';
import { Program } from '../../src/gpu/program.js';
import { Dyn } from '../../src/gpu/tensor.js';
import { close, reduce } from '../helpers/close.js';
import { dot, finiteDifference } from '../helpers/finite_diff.js';
import { output, read, runOnce, testGpu, upload } from '../helpers/gpu.js';
import { normals } from '../helpers/rng.js';
import * as twin from '../reference/rms_norm.js';

const EPS = 1e-5;

t.test('the twin’s backward equals finite differences', async (t) => {
  const [N, D] = [3, 7];
  const x = normals(1, N * D);
  const gain = normals(2, D);
  const dy = normals(3, N * D);
  const { dx, dgain } = twin.rmsNormBackward(x, gain, EPS, dy);
  close(t, 'dx', dx, finiteDifference((v) => dot(twin.rmsNorm(v, gain, EPS).y, dy), x), { atol: 1e-8, rtol: 1e-8, name: 'fd' });
  close(t, 'dgain', dgain, finiteDifference((v) => dot(twin.rmsNorm(x, v, EPS).y, dy), gain), { atol: 1e-8, rtol: 1e-8, name: 'fd' });
});

for (const without of [[], ['norm_gain']] as FusedPath[][]) for (const [N, D] of [[1, 1], [5, 123], [8, 64], [67, 33], [230, 36], [19, 1100], [700, 12]] as const) {
  t.test(`rms_norm N=${N} D=${D} against the twin, at a capacity above N${without.map((name) => `, without ${name}`).join('')}`, async (t) => {
    const gpu = await testGpu();
    gpu.without = new Set(without);
    t.teardown(() => void (gpu.without = new Set()));
    const rows = new Dyn('N', N + 3);
    const pad = (a: Float32Array): Float32Array => { const b = new Float32Array((N + 3) * D); b.set(a); return b; };
    const xs = normals(N * 7 + D, N * D);
    const gains = normals(N + D, D);
    const dys = normals(N * 3 + D, N * D);
    const x = upload(gpu, 'x', [rows, D], pad(xs));
    const gain = upload(gpu, 'gain', [D], gains);
    const dy = upload(gpu, 'dy', [rows, D], pad(dys));
    const y = output(gpu, 'y', [rows, D], 9);
    const rstd = output(gpu, 'rstd', [rows]);
    const dx = output(gpu, 'dx', [rows, D], 1);
    const dgain = output(gpu, 'dgain', [D], 2);
    const partial = output(gpu, 'partial', [Math.ceil((N + 3) / GAIN_ROWS), D], 5);
    const written = output(gpu, 'written', [rows, D], 4);
    await runOnce(gpu, (p) => {
      rmsNorm(p, { x, gain, y, rstd }, EPS);
      rmsNormBackward(p, { x, gain, rstd, dy, dx, dgain, partial });
      rmsNormBackward(p, { x, gain, rstd, dy, dx: written, dgain: undefined, partial }, 0, 'write');
    }, { N });
    const want = twin.rmsNorm(xs, gains, EPS);
    const back = twin.rmsNormBackward(xs, gains, EPS, dys);
    close(t, 'y', (await read(y)).subarray(0, N * D), want.y, reduce(D), [N, D]);
    t.equal((await read(y))[N * D], 9, 'rows past N are not touched');
    close(t, 'dx adds', (await read(dx)).subarray(0, N * D), back.dx.map((v) => v + 1), reduce(D), [N, D]);
    // Plus 1 as above: a gradient of a row of one number cancels to nothing.
    close(t, 'dx written', (await read(written)).subarray(0, N * D).map((v) => v + 1), back.dx.map((v) => v + 1), reduce(D), [N, D]);
    t.equal((await read(written))[N * D], 4, 'rows past N are not touched');
    close(t, 'dgain adds', await read(dgain), back.dgain.map((v) => v + 2), reduce(N), [D]);
  });
}

for (const [N, D] of [[1, 1], [5, 123], [67, 36], [19, 1100]] as const) {
  t.test(`a norm joined to a residual, and the norm of the sum, N=${N} D=${D}: the twins’, and the bits of two kernels`, async (t) => {
    const gpu = await testGpu();
    const rows = new Dyn('N', N + 3);
    const [xs, adds, gains, nexts] = [normals(1, (N + 3) * D), normals(2, (N + 3) * D), normals(3, D, 0.2), normals(4, D, 0.2)];
    const [x, add, gain, gainNext] = [upload(gpu, 'x', [rows, D], xs), upload(gpu, 'add', [rows, D], adds), upload(gpu, 'gain', [D], gains), upload(gpu, 'next', [D], nexts)];
    const made = ['one', 'two'].map(() => ({ y: output(gpu, 'y', [rows, D], 9), rstd: output(gpu, 'rstd', [rows], 9), h: output(gpu, 'h', [rows, D], 9), rstdNext: output(gpu, 'rstd', [rows], 9) }));
    const [one, two] = made as [(typeof made)[0], (typeof made)[0]];
    await runOnce(gpu, (p) => {
      rmsNormNext(p, { x, gain, add, gainNext, ...one }, undefined, EPS, 1);
      rmsNorm(p, { x, gain, add, y: two.y, rstd: two.rstd }, EPS, 1);
      rmsNorm(p, { x: two.y, gain: gainNext, y: two.h, rstd: two.rstdNext }, EPS, 1);
    }, { N });
    const y = twin.rmsNorm(xs.subarray(0, N * D), gains.map((g) => g + 1), EPS).y.map((v, i) => v + adds[i]!);
    const h = twin.rmsNorm(y, nexts.map((g) => g + 1), EPS);
    close(t, 'y', (await read(one.y)).subarray(0, N * D), y, reduce(D), [N, D]);
    close(t, 'h', (await read(one.h)).subarray(0, N * D), h.y, reduce(D), [N, D]);
    close(t, 'rstd of the sum', (await read(one.rstdNext)).subarray(0, N), h.rstd, reduce(D));
    for (const key of ['y', 'rstd', 'h', 'rstdNext'] as const) {
      const [a, b] = [await read(one[key]), await read(two[key])];
      t.ok(a.every((v, i) => Object.is(v, b[i])) && a[a.length - 1] === 9, `${key}: the same bits, rows past N untouched`);
    }
  });
}

t.test('scratch that is too small for the blocks of rows is refused', async (t) => {
  const gpu = await testGpu();
  const [N, D] = [GAIN_ROWS + 1, 4];
  const make = (label: string, ...shape: number[]) => output(gpu, label, shape);
  const p = new Program(gpu, 'small');
  t.throws(() => rmsNormBackward(p, { x: make('x', N, D), gain: make('gain', D), rstd: make('rstd', N), dy: make('dy', N, D), dx: make('dx', N, D), dgain: make('dgain', D), partial: make('partial', 1, D) }), /partial \[1, 4\] has room for 1 sums of 8 rows; x \[9, 4\] has 2/);
});
