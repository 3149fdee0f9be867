import t from 'tap';
import { attention, attentionBackward } from '../../src/gpu/ops/attention.js';
import { Dyn } from '../../src/gpu/tensor.js';
import { pack } from '../../src/model/batch/pack.js';
import { doc, visibility } from '../helpers/attention_case.js';
import { close, reduce } from '../helpers/close.js';
import { dot, finiteDifference } from '../helpers/finite_diff.js';
import { output, read, runOnce, testGpu, upload } from '../helpers/gpu.js';
import { normals } from '../helpers/rng.js';
import * as twin from '../reference/attention.js';

const cases = [
  { H: 1, G: 1, C: 4, docs: [doc(0, 1, 1)] },
  { H: 6, G: 2, C: 5, docs: [doc(0, 3, 4, 2), doc(1, 1, 6), doc(2, 9, 1, 7, 3)] },
  { H: 8, G: 4, C: 8, docs: [doc(0, 13, 21, 17), doc(1, 6, 9, 30)] },
  { H: 2, G: 1, C: 64, docs: [doc(0, 5, 9, 4)] },
  { H: 4, G: 2, C: 8, docs: [doc(0, 7, 12, 9)], window: 4, softCap: 3 },
];

t.test('the twin’s backward equals finite differences', async (t) => {
  const { H, G, C, docs } = { H: 2, G: 1, C: 3, docs: [doc(0, 2, 3, 1)] };
  const N = 6;
  const shape = { N, H, G, C, scale: 0.7, softCap: 2, sees: visibility(docs, 0) };
  const [q, k, v, d] = [normals(1, N * H * C), normals(2, N * G * C), normals(3, N * G * C), normals(4, N * H * C)];
  const back = twin.attentionBackward(q, k, v, d, shape);
  const tolerance = { atol: 1e-7, rtol: 1e-7, name: 'fd' };
  close(t, 'dq', back.dq, finiteDifference((x) => dot(twin.attention(x, k, v, shape).o, d), q), tolerance);
  close(t, 'dk', back.dk, finiteDifference((x) => dot(twin.attention(q, x, v, shape).o, d), k), tolerance);
  close(t, 'dv', back.dv, finiteDifference((x) => dot(twin.attention(q, k, x, shape).o, d), v), tolerance);
});

for (const { H, G, C, docs, window = 0, softCap = 0 } of cases) {
  t.test(`attention H=${H} G=${G} C=${C}, ${docs.length} documents, window ${window}, soft-cap ${softCap}`, async (t) => {
    const gpu = await testGpu();
    const batch = pack(docs);
    const { N } = batch.values;
    const rows = new Dyn('N', N + 2);
    const grow = (a: Float32Array): Float32Array => { const b = new Float32Array((a.length / N) * (N + 2)); b.set(a); return b; };
    const growU = (a: Uint32Array): Uint32Array => { const b = new Uint32Array((a.length / N) * (N + 2)); b.set(a); return b; };
    const data = [normals(1, N * H * C), normals(2, N * G * C), normals(3, N * G * C), normals(4, N * H * C)] as const;
    const [q, k, v, dout] = data.map((a, i) => upload(gpu, 'qkvd'[i]!, [rows, a.length / N], grow(a))) as [never, never, never, never];
    const span = upload(gpu, 'span', [rows, 4], growU(batch.span));
    const position = upload(gpu, 'position', [rows], growU(batch.position));
    const [o, dq] = [output(gpu, 'o', [rows, H * C], 5), output(gpu, 'dq', [rows, H * C], 5)];
    const [dk, dv] = [output(gpu, 'dk', [rows, G * C], 5), output(gpu, 'dv', [rows, G * C], 5)];
    const [lse, delta] = [output(gpu, 'lse', [rows, H]), output(gpu, 'delta', [rows, H])];
    const options = { H, G, C, scale: 1 / Math.sqrt(C), softCap, window };
    await runOnce(gpu, (p) => {
      attention(p, { q, k, v, span, position, o, lse }, options);
      attentionBackward(p, { q, k, v, span, position, o, lse, do: dout, delta, dq, dk, dv }, options);
    }, { N });
    const shape = { N, H, G, C, scale: options.scale, softCap, sees: visibility(docs, window) };
    const want = twin.attention(data[0], data[1], data[2], shape);
    const back = twin.attentionBackward(...data, shape);
    const tolerance = reduce(4 * N);
    close(t, 'o', (await read(o)).subarray(0, N * H * C), want.o, tolerance, [N, H * C]);
    t.equal((await read(o))[N * H * C], 5, 'rows past N are not touched');
    close(t, 'lse', (await read(lse)).subarray(0, N * H), want.lse, tolerance, [N, H]);
    close(t, 'dq', (await read(dq)).subarray(0, N * H * C), back.dq, tolerance, [N, H * C]);
    close(t, 'dk', (await read(dk)).subarray(0, N * G * C), back.dk, tolerance, [N, G * C]);
    close(t, 'dv', (await read(dv)).subarray(0, N * G * C), back.dv, tolerance, [N, G * C]);
  });
}

t.test('a row’s bits depend on its own prompt and branch alone', async (t) => {
  const gpu = await testGpu();
  const [H, G, C] = [4, 2, 8];
  const widths = [H * C, G * C, G * C];
  // One prompt of 9 and one branch of 13, placed behind other documents and beside other siblings.
  const own = widths.map((w, i) => ({ prompt: normals(10 + i, 9 * w), branch: normals(20 + i, 13 * w) }));
  const bits: string[] = [];
  for (const { before, sibling, first } of [{ before: 0, sibling: 0, first: true }, { before: 5, sibling: 0, first: true }, { before: 7, sibling: 6, first: true }, { before: 7, sibling: 3, first: false }]) {
    const documents = [...(before ? [doc(0, before, 3)] : []), { id: 1, prompt: new Array(9).fill(1), branches: (first ? [13, sibling] : [sibling, 13]).filter((n) => n > 0).map((n) => new Array(n).fill(2)) }];
    const batch = pack(documents);
    const { N } = batch.values;
    const start = before ? before + 3 : 0;
    const branchAt = start + 9 + (first ? 0 : sibling);
    const [q, k, v] = widths.map((w, i) => {
      const all = normals(before * 10 + i, N * w);
      all.set(own[i]!.prompt, start * w);
      all.set(own[i]!.branch, branchAt * w);
      return upload(gpu, 'x', [N, w], all);
    }) as [never, never, never];
    const o = output(gpu, 'o', [N, H * C]);
    const lse = output(gpu, 'lse', [N, H]);
    await runOnce(gpu, (p) => attention(p, { q, k, v, span: upload(gpu, 'span', [N, 4], batch.span), position: upload(gpu, 'pos', [N], batch.position), o, lse }, { H, G, C, scale: 0.3, softCap: 0, window: 0 }));
    bits.push((await read(o)).slice(branchAt * H * C, (branchAt + 13) * H * C).join());
  }
  for (const b of bits) t.equal(b, bits[0]);
});
