import t from 'tap';
import { takeColumn } from '../../src/gpu/ops/take_column.js';
import { Dyn } from '../../src/gpu/tensor.js';
import { output, read, runOnce, testGpu, upload } from '../helpers/gpu.js';
import { normals } from '../helpers/rng.js';

t.test('take_column copies bits and leaves rows past S alone', async (t) => {
  const gpu = await testGpu();
  const S = new Dyn('S', 9);
  const data = normals(5, 9 * 8);
  const x = upload(gpu, 'x', [S, 8], data);
  const y = output(gpu, 'y', [S], -1);
  await runOnce(gpu, (p) => takeColumn(p, { x, y }, 3), { S: 7 });
  t.same([...(await read(y))], [...Array.from({ length: 7 }, (_, s) => data[s * 8 + 3]!), -1, -1]);
});
