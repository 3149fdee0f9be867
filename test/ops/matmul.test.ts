import t from 'tap';
import { matmulNN, matmulNT, matmulTN } from '../../src/gpu/ops/matmul.js';
import { Dyn } from '../../src/gpu/tensor.js';
import { close, reduce } from '../helpers/close.js';
import { output, read, runOnce, testGpu, upload } from '../helpers/gpu.js';
import { normals } from '../helpers/rng.js';
import * as twin from '../reference/matmul.js';

const padded = (data: Float32Array, length: number): Float32Array => {
  const out = new Float32Array(length).fill(NaN);
  out.set(data);
  return out;
};

for (const [M, I, O] of [[1, 1, 1], [5, 123, 7], [9, 8, 12], [67, 33, 5], [6, 64, 172], [130, 20, 36], [17, 12, 44], [33, 4, 20]] as const) {
  t.test(`matmul M=${M} I=${I} O=${O} against the twin, rows past M NaN`, async (t) => {
    const gpu = await testGpu();
    const rows = new Dyn('M', M + 3);
    const seed = M * 100 + I;
    const [xs, ws, dys] = [normals(seed, M * I), normals(seed + 1, O * I), normals(seed + 2, M * O)];
    const x = upload(gpu, 'x', [rows, I], padded(xs, (M + 3) * I));
    const w = upload(gpu, 'w', [O, I], ws);
    const dy = upload(gpu, 'dy', [rows, O], padded(dys, (M + 3) * O));
    const y = output(gpu, 'y', [rows, O], 7);
    const yAdd = output(gpu, 'y+', [rows, O], 7);
    const yAcc = output(gpu, 'y+=', [rows, O], 7);
    const dx = output(gpu, 'dx', [rows, I], 3);
    const dxAcc = output(gpu, 'dx+', [rows, I], 3);
    const dw = output(gpu, 'dw', [O, I], 2);
    await runOnce(gpu, (p) => {
      matmulNT(p, { x, w, y });
      matmulNT(p, { x, w, y: yAdd }, { add: dy });
      matmulNT(p, { x, w, y: yAcc }, { accumulate: true });
      matmulNN(p, { x: dy, w, y: dx });
      matmulNN(p, { x: dy, w, y: dxAcc }, { accumulate: true });
      matmulTN(p, { a: dy, b: x, y: dw });
    }, { M });
    const want = twin.nt(xs, ws, M, I, O);
    close(t, 'nt', (await read(y)).subarray(0, M * O), want, reduce(I), [M, O]);
    t.equal((await read(y))[M * O], 7, 'rows past M are not touched');
    close(t, 'nt + add', (await read(yAdd)).subarray(0, M * O), want.map((v, i) => v + dys[i]!), reduce(I), [M, O]);
    close(t, 'nt accumulates', (await read(yAcc)).subarray(0, M * O), want.map((v) => v + 7), reduce(I), [M, O]);
    t.equal((await read(yAcc))[M * O], 7, 'rows past M are not touched');
    const back = twin.nn(dys, ws, M, O, I);
    close(t, 'nn', (await read(dx)).subarray(0, M * I), back, reduce(O), [M, I]);
    close(t, 'nn accumulates', (await read(dxAcc)).subarray(0, M * I), back.map((v) => v + 3), reduce(O), [M, I]);
    close(t, 'tn accumulates', await read(dw), twin.tn(dys, xs, M, O, I).map((v) => v + 2), reduce(M), [O, I]);
  });
}

t.test('a range of rows of w: columns of a vocabulary tile', async (t) => {
  const gpu = await testGpu();
  const [M, I, O, Y, first, count] = [5, 12, 40, 16, 20, 13];
  const [xs, ws] = [normals(1, M * I), normals(2, O * I)];
  const x = upload(gpu, 'x', [M, I], xs);
  const w = upload(gpu, 'w', [O, I], ws);
  const tile = output(gpu, 'tile', [M, Y], 9);
  const dh = output(gpu, 'dh', [M, I]);
  const dw = output(gpu, 'dw', [O, I]);
  await runOnce(gpu, (p) => {
    matmulNT(p, { x, w, y: tile }, { first, count });
    matmulNN(p, { x: tile, w, y: dh }, { first, count, accumulate: true });
    matmulTN(p, { a: tile, b: x, y: dw }, { first, count });
  });
  const part = ws.slice(first * I, (first + count) * I);
  const want = twin.nt(xs, part, M, I, count);
  const got = await read(tile);
  for (let m = 0; m < M; m++) close(t, `tile row ${m}`, got.subarray(m * Y, m * Y + count), want.subarray(m * count, (m + 1) * count), reduce(I));
  t.equal(got[count], 9, 'columns past count are not touched');
  close(t, 'dh', await read(dh), twin.nn(want, part, M, count, I), reduce(40), [M, I]);
  const dwWant = new Float64Array(O * I);
  dwWant.set(twin.tn(want, xs, M, count, I), first * I);
  close(t, 'dw', await read(dw), dwWant, reduce(40), [O, I]);
});

t.test('a range that starts and ends off the tiles, sizes by four', async (t) => {
  const gpu = await testGpu();
  const [M, I, O, Y, first, count] = [19, 12, 40, 24, 5, 20];
  const [xs, ws, adds] = [normals(3, M * I), normals(4, O * I), normals(5, M * Y)];
  const x = upload(gpu, 'x', [M, I], xs);
  const w = upload(gpu, 'w', [O, I], ws);
  const add = upload(gpu, 'add', [M, Y], adds);
  const tile = output(gpu, 'tile', [M, Y], 9);
  const dh = output(gpu, 'dh', [M, I], 1);
  const dw = output(gpu, 'dw', [O, I], 1);
  await runOnce(gpu, (p) => {
    matmulNT(p, { x, w, y: tile }, { first, count, add });
    matmulNN(p, { x: tile, w, y: dh }, { first, count, accumulate: true });
    matmulTN(p, { a: tile, b: x, y: dw }, { first, count });
  });
  const part = ws.slice(first * I, (first + count) * I);
  const want = twin.nt(xs, part, M, I, count).map((v, i) => v + adds[Math.floor(i / count) * Y + (i % count)]!);
  const got = await read(tile);
  close(t, 'tile', Float32Array.from(want, (_, i) => got[Math.floor(i / count) * Y + (i % count)]!), want, reduce(I), [M, count]);
  for (let m = 0; m < M; m++) t.same([...got.subarray(m * Y + count, (m + 1) * Y)], [9, 9, 9, 9], 'columns past count are not touched');
  close(t, 'dh', await read(dh), twin.nn(want, part, M, count, I).map((v) => v + 1), reduce(40), [M, I]);
  const dwWant = new Float64Array(O * I);
  dwWant.set(twin.tn(want, xs, M, count, I), first * I);
  close(t, 'dw: rows outside the range are not touched', await read(dw), dwWant.map((v) => v + 1), reduce(40), [O, I]);
});

t.test('a row’s bits depend on that row alone', async (t) => {
  const gpu = await testGpu();
  for (const [I, O] of [[64, 172], [33, 19]] as const) {
    const row = normals(7, I);
    const w = upload(gpu, 'w', [O, I], normals(8, O * I));
    const wT = upload(gpu, 'wT', [I, O], normals(9, O * I));
    const added = normals(10, O);
    const bits: string[] = [];
    for (const [M, at] of [[1, 0], [7, 3], [64, 63], [130, 66]] as const) {
      const xs = normals(M, M * I);
      xs.set(row, at * I);
      const x = upload(gpu, 'x', [M, I], xs);
      const y = output(gpu, 'y', [M, O]);
      const z = output(gpu, 'z', [M, O]);
      const adds = normals(M + 1, M * O);
      adds.set(added, at * O);
      const part = output(gpu, 'part', [M, O]);
      const sum = output(gpu, 'sum', [M, O], 0.3);
      await runOnce(gpu, (p) => {
        matmulNT(p, { x, w, y });
        matmulNN(p, { x, w: wT, y: z });
        matmulNT(p, { x, w, y: part }, { first: 3, count: 13, add: upload(gpu, 'add', [M, O], adds) });
        matmulNN(p, { x, w: wT, y: sum }, { first: 1, count: 12, accumulate: true });
      });
      const rows = await Promise.all([y, z, part, sum].map(async (r) => (await read(r)).slice(at * O, (at + 1) * O)));
      bits.push(rows.map((r) => new Uint32Array(r.buffer).join()).join('; '));
    }
    for (const b of bits) t.equal(b, bits[0], `I=${I}`);
  }
});
