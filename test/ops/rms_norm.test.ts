import t from 'tap';
import { GAIN_ROWS } from '../../src/gpu/ops/column_sums.js';
import { rmsNorm, rmsNormBackward } from '../../src/gpu/ops/rms_norm.js';
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

for (const [N, D] of [[1, 1], [5, 123], [8, 64], [67, 33], [230, 36], [19, 1100], [700, 12]] as const) {
  t.test(`rms_norm N=${N} D=${D} against the twin, at a capacity above N`, async (t) => {
    const gpu = await testGpu();
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

t.test('scratch that is too small for the blocks of rows is refused', async (t) => {
  const gpu = await testGpu();
  const [N, D] = [GAIN_ROWS + 1, 4];
  const make = (label: string, ...shape: number[]) => output(gpu, label, shape);
  const p = new Program(gpu, 'small');
  t.throws(() => rmsNormBackward(p, { x: make('x', N, D), gain: make('gain', D), rstd: make('rstd', N), dy: make('dy', N, D), dx: make('dx', N, D), dgain: make('dgain', D), partial: make('partial', 1, D) }), /partial \[1, 4\] has room for 1 sums of 8 rows; x \[9, 4\] has 2/);
});
