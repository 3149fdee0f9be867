import t from 'tap';
import { GAIN_ROWS, rmsNorm, rmsNormBackward } from '../../src/gpu/ops/rms_norm.js';
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

for (const [N, D] of [[1, 1], [5, 123], [8, 64], [67, 33], [230, 36]] as const) {
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
    await runOnce(gpu, (p) => {
      rmsNorm(p, { x, gain, y, rstd }, EPS);
      rmsNormBackward(p, { x, gain, rstd, dy, dx, dgain, partial });
    }, { N });
    const want = twin.rmsNorm(xs, gains, EPS);
    const back = twin.rmsNormBackward(xs, gains, EPS, dys);
    close(t, 'y', (await read(y)).subarray(0, N * D), want.y, reduce(D), [N, D]);
    t.equal((await read(y))[N * D], 9, 'rows past N are not touched');
    close(t, 'dx adds', (await read(dx)).subarray(0, N * D), back.dx.map((v) => v + 1), reduce(D), [N, D]);
    close(t, 'dgain adds', await read(dgain), back.dgain.map((v) => v + 2), reduce(N), [D]);
  });
}
