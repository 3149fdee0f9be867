import t from 'tap';
import type { Gpu } from '../../src/gpu/device.js';
import { matmulNN, matmulNT, matmulTN, plainForm } from '../../src/gpu/ops/matmul.js';
import { plainBytes, threadsOf, tiledPlan, type PlainTile } from '../../src/gpu/ops/matmul_tiled.js';
import { Program } from '../../src/gpu/program.js';
import { PackedTensor, WEIGHT_FORMATS, type PackedFormat } from '../../src/gpu/packed.js';
import { Dyn, Tensor } from '../../src/gpu/tensor.js';
import { fillPacked, readPacked } from '../../src/model/packing/packed.js';
import { close, reduce } from '../helpers/close.js';
import { nullGpu, output, read, runOnce, testGpu, upload } from '../helpers/gpu.js';
import { normals } from '../helpers/rng.js';
import * as twin from '../reference/matmul.js';

const TINY: PlainTile = { BM: 32, BN: 32, BK: 16, RM: 1, RN: 1 };

/** The device, its plain products tiled whatever the adapter. Drivers of processors take seconds for a large tile, hence TINY where the size is no matter. */
async function tiled(tile: PlainTile | undefined = TINY): Promise<Gpu> {
  const gpu = await testGpu();
  gpu.products = { form: 'tiled', ...(tile ? { tile } : {}) };
  return gpu;
}

const padded = (data: Float32Array, length: number): Float32Array => {
  const out = new Float32Array(length).fill(NaN);
  out.set(data);
  return out;
};
const bitsOf = (data: Float32Array): string => new Uint32Array(data.slice().buffer).join();

t.test('which adapters have it, and tiles by the size of the grid', async (t) => {
  const gpu = (over: object): Gpu => ({ kind: 'hardware', info: { description: '' }, uses: () => true, ...over }) as unknown as Gpu;
  t.equal(plainForm(gpu({})), 'tiled');
  t.equal(plainForm(gpu({ uses: (path: string) => path !== 'products_tiled' })), 'patches');
  t.equal(plainForm(gpu({ kind: 'embedded' })), 'patches');
  t.equal(plainForm(gpu({ kind: 'software', info: { description: 'llvmpipe (LLVM 20)' } })), 'lanes');
  t.equal(plainForm(gpu({ kind: 'embedded', products: { form: 'tiled' } })), 'tiled');
  const large = tiledPlan('nt', 10467, 4864, 896).tile;
  const small = tiledPlan('nt', 512, 896, 896).tile;
  t.same([large.BM, small.BM], [128, 64]);
  for (const tile of [large, small]) t.ok(plainBytes(tile) <= 16384 && threadsOf(tile) <= 256, 'within what every adapter offers');
  // dW of 896 x 896 is 49 large tiles: split over rows until a GPU is full, in ranges of at least 512 rows.
  const { chunk } = tiledPlan('tn', 896, 896, 10467);
  t.ok(chunk >= 512 && chunk % 64 === 0 && chunk < 10467, `ranges of ${chunk} rows`);
  t.ok(tiledPlan('tn', 4864, 4864, 10467).chunk >= 10467, 'a grid that is large enough is not split');
  t.ok(tiledPlan('tn', 896, 896, 1000).chunk >= 1000, 'few rows are not split');
  t.equal(tiledPlan('nt', 64, 64, 1e6).chunk, 1e6, 'a forward sum is never split');
});

t.test('as a GPU compiles it: steps written out, both tiles, every form and format', async (t) => {
  const gpu = Object.create(await nullGpu(), { kind: { value: 'hardware' } }) as Gpu;
  for (const [M, I, O] of [[4096, 1024, 1024], [40, 30, 50]] as const) {
    const program = new Program(gpu, 'null');
    const [x, y] = [new Tensor(gpu, 'x', [M, I]), new Tensor(gpu, 'y', [M, O])];
    for (const format of WEIGHT_FORMATS) {
      const w = format === 'f32' ? new Tensor(gpu, 'w', [O, I]) : new PackedTensor(gpu, 'w', [O, I], format);
      matmulNT(program, { x, w, y });
      matmulNN(program, { x: y, w, y: x });
      if (format !== 'f32') continue;
      matmulNT(program, { x, w, y }, { add: new Tensor(gpu, 'add', [M, O]), bias: new Tensor(gpu, 'bias', [O]) });
      matmulNN(program, { x: y, w, y: x }, { accumulate: true });
      matmulTN(program, { a: y, b: x, y: w });
    }
    await program.ready();
    t.equal(program.length, M > 1000 ? 16 : 15, 'and the sum of ranges');
    t.ok(program.dispatches({}).every((d) => d.label === 'split_sum' || d.inputs['UNROLL'] === d.inputs['KB']));
    t.equal(program.dispatches({})[0]!.inputs['BM'], M > 1000 ? 128 : 64);
  }
});

for (const [tile, shapes] of [
  [TINY, [[1, 1, 1], [5, 123, 7], [67, 33, 5], [6, 64, 172], [33, 4, 20], [70, 30, 36], [40, 36, 38]]],
  // Threads of 2 x 1 quads, steps of 8; loads that leave threads without one.
  [{ BM: 64, BN: 32, BK: 8, RM: 2, RN: 1 }, [[70, 20, 36], [9, 7, 45]]],
  [{ BM: 64, BN: 64, BK: 16, RM: 2, RN: 2 }, [[67, 100, 72]]],
  [{ BM: 128, BN: 128, BK: 16, RM: 2, RN: 2 }, [[130, 20, 140]]],
] as Array<[PlainTile, Array<[number, number, number]>]>) {
  // What is added to is no matter of the tile, and each kernel of 8 x 8 sums a thread costs a processor's driver seconds.
  const starts = tile.RM * tile.RN < 4;
  for (const [M, I, O] of shapes) {
    t.test(`${tile.BM}x${tile.BN}x${tile.BK} M=${M} I=${I} O=${O} against the twin, rows past M NaN`, async (t) => {
      const gpu = await tiled(tile);
      const rows = new Dyn('M', M + 3);
      const seed = M * 100 + I;
      const [xs, ws, dys] = [normals(seed, M * I), normals(seed + 1, O * I), normals(seed + 2, M * O)];
      const x = upload(gpu, 'x', [rows, I], padded(xs, (M + 3) * I));
      const w = upload(gpu, 'w', [O, I], ws);
      const dy = upload(gpu, 'dy', [rows, O], padded(dys, (M + 3) * O));
      const [y, yAdd, yAcc] = [output(gpu, 'y', [rows, O], 7), output(gpu, 'y+', [rows, O], 7), output(gpu, 'y+=', [rows, O], 7)];
      const [yBias, yBoth, bs] = [output(gpu, 'y+b', [rows, O], 7), output(gpu, 'y++b', [rows, O], 7), normals(seed + 3, O)];
      const bias = upload(gpu, 'b', [O], bs);
      const [dx, dxAcc, dw] = [output(gpu, 'dx', [rows, I], 3), output(gpu, 'dx+', [rows, I], 3), output(gpu, 'dw', [O, I], 2)];
      const program = new Program(gpu, 'tiled');
      matmulNT(program, { x, w, y });
      matmulTN(program, { a: dy, b: x, y: dw });
      if (starts) {
        matmulNT(program, { x, w, y: yAdd }, { add: dy });
        matmulNT(program, { x, w, y: yAcc }, { accumulate: true });
        matmulNT(program, { x, w, y: yBias }, { bias });
        matmulNT(program, { x, w, y: yBoth }, { add: dy, bias });
        matmulNN(program, { x: dy, w, y: dx });
        matmulNN(program, { x: dy, w, y: dxAcc }, { accumulate: true });
      }
      t.ok(program.dispatches({ M }).every((d) => d.label.startsWith('matmul.tiled_')), 'the form under test');
      await program.submit({ M });
      const want = twin.nt(xs, ws, M, I, O);
      close(t, 'nt', (await read(y)).subarray(0, M * O), want, reduce(I), [M, O]);
      close(t, 'tn accumulates', await read(dw), twin.tn(dys, xs, M, O, I).map((v) => v + 2), reduce(M), [O, I]);
      t.ok((await read(y)).subarray(M * O).every((v) => v === 7), 'rows past M are not touched');
      if (!starts) return;
      close(t, 'nt + add', (await read(yAdd)).subarray(0, M * O), want.map((v, i) => v + dys[i]!), reduce(I), [M, O]);
      close(t, 'nt + bias', (await read(yBias)).subarray(0, M * O), want.map((v, i) => v + bs[i % O]!), reduce(I), [M, O]);
      close(t, 'nt + add + bias', (await read(yBoth)).subarray(0, M * O), want.map((v, i) => v + dys[i]! + bs[i % O]!), reduce(I), [M, O]);
      close(t, 'nt accumulates', (await read(yAcc)).subarray(0, M * O), want.map((v) => v + 7), reduce(I), [M, O]);
      const back = twin.nn(dys, ws, M, O, I);
      close(t, 'nn', (await read(dx)).subarray(0, M * I), back, reduce(O), [M, I]);
      close(t, 'nn accumulates', (await read(dxAcc)).subarray(0, M * I), back.map((v) => v + 3), reduce(O), [M, I]);
      for (const [out, width, fill] of [[yAdd, O, 7], [yAcc, O, 7], [yBias, O, 7], [yBoth, O, 7], [dx, I, 3], [dxAcc, I, 3]] as const) {
        t.ok((await read(out)).subarray(M * width).every((v) => v === fill), `${out.label}: rows past M are not touched`);
      }
    });
  }
}

// A last tile of a vocabulary of odd size; ranges off the tiles by four and not.
for (const [M, I, O, Y, first, count] of [[5, 12, 40, 16, 20, 13], [19, 12, 80, 40, 5, 36], [35, 13, 50, 37, 3, 33]] as const) {
  t.test(`rows ${first} to ${first + count} of w`, async (t) => {
    const gpu = await tiled();
    const [xs, ws, adds] = [normals(3, M * I), normals(4, O * I), normals(5, M * Y)];
    const [x, w, add] = [upload(gpu, 'x', [M, I], xs), upload(gpu, 'w', [O, I], ws), upload(gpu, 'add', [M, Y], adds)];
    const [tile, dh, dw] = [output(gpu, 'tile', [M, Y], NaN), output(gpu, 'dh', [M, I], 1), output(gpu, 'dw', [O, I], 1)];
    await runOnce(gpu, (p) => {
      matmulNT(p, { x, w, y: tile }, { first, count, add });
      // Columns past count are NaN: none may be read into a sum.
      matmulNN(p, { x: tile, w, y: dh }, { first, count, accumulate: true });
      matmulTN(p, { a: tile, b: x, y: dw }, { first, count });
    });
    const part = ws.slice(first * I, (first + count) * I);
    const want = twin.nt(xs, part, M, I, count).map((v, i) => v + adds[Math.floor(i / count) * Y + (i % count)]!);
    const got = await read(tile);
    close(t, 'tile', Float32Array.from(want, (_, i) => got[Math.floor(i / count) * Y + (i % count)]!), want, reduce(I), [M, count]);
    t.ok(got.every((v, i) => i % Y < count || Number.isNaN(v)), 'columns past count are not touched');
    close(t, 'dh', await read(dh), twin.nn(want, part, M, count, I).map((v) => v + 1), reduce(40), [M, I]);
    const dwWant = new Float64Array(O * I);
    dwWant.set(twin.tn(want, xs, M, count, I), first * I);
    close(t, 'dw: rows outside the range are not touched', await read(dw), dwWant.map((v) => v + 1), reduce(40), [O, I]);
  });
}

t.test('weights in every format: the products of what they stand for, and of f16 and bf16 the bits of the same in f32', async (t) => {
  const gpu = await tiled();
  for (const [M, I, O, first] of [[5, 123, 7, 3], [37, 68, 44, 4]] as const) for (const format of WEIGHT_FORMATS.filter((f): f is PackedFormat => f !== 'f32')) {
    const [xs, ws, dys] = [normals(M, M * I), normals(O, O * I), normals(3, M * O)];
    const w = new PackedTensor(gpu, 'w', [O, I], format);
    await fillPacked(w, 'w', (first, rows) => ws.subarray(first * I, (first + rows) * I), 'other');
    const values = await readPacked(w);
    const [x, dy, same] = [upload(gpu, 'x', [M, I], xs), upload(gpu, 'dy', [M, O], dys), upload(gpu, 'w f32', [O, I], values)];
    const [y, dx, y32, dx32] = [output(gpu, 'y', [M, O]), output(gpu, 'dx', [M, I]), output(gpu, 'y', [M, O]), output(gpu, 'dx', [M, I])];
    const z = output(gpu, 'z', [M, O - first]);
    await runOnce(gpu, (p) => {
      matmulNT(p, { x, w, y });
      matmulNN(p, { x: dy, w, y: dx });
      matmulNT(p, { x, w, y: z }, { first, count: O - first });
      matmulNT(p, { x, w: same, y: y32 });
      matmulNN(p, { x: dy, w: same, y: dx32 });
    });
    const want = twin.nt(xs, values, M, I, O);
    close(t, `${format} nt`, await read(y), want, reduce(I), [M, O]);
    close(t, `${format} nn`, await read(dx), twin.nn(dys, values, M, O, I), reduce(O), [M, I]);
    close(t, `${format} nt from row ${first}`, await read(z), want.filter((_, i) => i % O >= first), reduce(I), [M, O - first]);
    if (format === 'f16' || format === 'bf16') t.same([bitsOf(await read(y)), bitsOf(await read(dx))], [bitsOf(await read(y32)), bitsOf(await read(dx32))], format);
  }
});

t.test('a row’s bits depend on that row alone: on no other row, not on its place, on no tile', async (t) => {
  for (const [I, O] of [[64, 172], [33, 19]] as const) {
    const row = normals(7, I);
    const bits: string[] = [];
    for (const [M, at, tile] of [[1, 0, TINY], [7, 3, TINY], [70, 66, TINY], [70, 66, { BM: 64, BN: 32, BK: 8, RM: 2, RN: 1 }]] as const) {
      const gpu = await tiled(tile);
      const [w, wT] = [upload(gpu, 'w', [O, I], normals(8, O * I)), upload(gpu, 'wT', [I, O], normals(9, O * I))];
      const xs = normals(M, M * I);
      xs.set(row, at * I);
      const x = upload(gpu, 'x', [M, I], xs);
      const [y, z, sum] = [output(gpu, 'y', [M, O]), output(gpu, 'z', [M, O]), output(gpu, 'sum', [M, O], 0.3)];
      await runOnce(gpu, (p) => {
        matmulNT(p, { x, w, y });
        matmulNN(p, { x, w: wT, y: z });
        matmulNN(p, { x, w: wT, y: sum }, { first: 1, count: 12, accumulate: true });
      });
      const rows = await Promise.all([y, z, sum].map(async (r) => bitsOf((await read(r)).subarray(at * O, (at + 1) * O))));
      bits.push(rows.join('; '));
    }
    for (const b of bits) t.equal(b, bits[0], `I=${I}`);
  }
});

// Few outputs over many rows: ranges of rows with sums of their own, added in order.
for (const [I, O, first, count] of [[12, 20, 0, 20], [7, 13, 2, 9]] as const) {
  t.test(`dW [${count}, ${I}] in ranges of rows`, async (t) => {
    const gpu = await tiled();
    const capacity = 2100;
    const rows = new Dyn('M', capacity);
    const { chunk } = tiledPlan('tn', count, I, capacity, { forced: TINY });
    t.ok(chunk < capacity / 2, 'split');
    for (const M of [capacity, chunk + 1, 5]) {
      const [as, bs] = [normals(M, M * O), normals(M + 1, M * I)];
      const [a, b] = [upload(gpu, 'a', [rows, O], padded(as, capacity * O)), upload(gpu, 'b', [rows, I], padded(bs, capacity * I))];
      const results: string[] = [];
      for (let again = 0; again < 2; again++) {
        const dw = output(gpu, 'dw', [O, I], 0.25);
        await runOnce(gpu, (p) => matmulTN(p, { a, b, y: dw }, { first, count }), { M });
        const got = await read(dw);
        const want = new Float64Array(O * I);
        want.set(twin.tn(as.filter((_, i) => i % O < count), bs, M, count, I), first * I);
        close(t, `${M} rows`, got, want.map((v) => v + 0.25), reduce(M), [O, I]);
        results.push(bitsOf(got));
      }
      t.equal(results[1], results[0], 'the same bits again');
    }
  });
}
