import t from 'tap';
import { matrixTile, type MatrixTile } from '../../src/gpu/matrices.js';
import { OperandStore } from '../../src/gpu/operand_store.js';
import { matrixChunk, matrixNT } from '../../src/gpu/ops/matmul_matrix.js';
import { matrixKernels, matrixTune } from '../../src/gpu/ops/matmul_matrix_kernels.js';
import { packedBytes } from '../../src/gpu/ops/operand_layout.js';
import { matmulNN, matmulNT, matmulTN } from '../../src/gpu/ops/matmul.js';
import { debugReadU32 } from '../../src/gpu/readback.js';
import { Dyn, type Tensor } from '../../src/gpu/tensor.js';
import { encode16 } from '../../src/model/files/float_formats.js';
import { close, reduce } from '../helpers/close.js';
import { output, read, runOnce, testGpu, upload } from '../helpers/gpu.js';
import { normals } from '../helpers/rng.js';
import { half, operandStore, SCALES, SLOTS } from '../helpers/operand_store.js';
import * as twin from '../reference/matmul.js';

const gpu = await testGpu();
const found = matrixTile(gpu);

if (typeof found === 'string') {
  t.pass(`no matrices here: ${found}`);
} else {
  // A processor's own tile is one matrix: the last has blocks side by side, several subgroups and several steps, as a card's has.
  const larger = { ...found, BM: 2 * found.MM, BN: 4 * found.MN, BK: 4 * found.MK, WM: 2, WN: 2 };
  for (const [M, I, O, tile = found] of [[1, 1, 1], [5, 123, 7], [67, 33, 130], [33, 64, 172], [130, 20, 36], [64, 32, 96], [67, 83, 130, larger]] as Array<[number, number, number, MatrixTile?]>) {
    t.test(`matrix products M=${M} I=${I} O=${O} in tiles of ${tile.BM} x ${tile.BN} x ${tile.BK} against the twin of the rounded operands, rows past M NaN`, async (t) => {
      const rows = new Dyn('M', M + 3);
      const seed = M * 100 + I;
      const [xs, ws, dys, bs] = [normals(seed, M * I), normals(seed + 1, O * I), normals(seed + 2, M * O).map((v) => v * 1e-3), normals(seed + 3, O)];
      const nans = (data: Float32Array, length: number): Float32Array => Float32Array.from({ length }, (_, i) => data[i] ?? NaN);
      const x = upload(gpu, 'x', [rows, I], nans(xs, (M + 3) * I));
      const w = upload(gpu, 'w', [O, I], ws);
      const dy = upload(gpu, 'dy', [rows, O], nans(dys, (M + 3) * O));
      const [y, yAdd, yBias, yBoth] = ['y', 'y+', 'y+b', 'y++b'].map((label) => output(gpu, label, [rows, O], 7)) as [Tensor, Tensor, Tensor, Tensor];
      const bias = upload(gpu, 'b', [O], bs);
      const [dx, dxAcc] = [output(gpu, 'dx', [rows, I], 3), output(gpu, 'dx+', [rows, I], 3)];
      const dw = output(gpu, 'dw', [O, I], 2);
      const s = operandStore(tile, [{ w, dw }], M + 3, Math.max(I, O));
      await runOnce(gpu, (p) => {
        s.pack(p, [w]);
        p.mixed(s, () => {
          matmulNT(p, { x, w, y });
          matmulNT(p, { x, w, y: yAdd }, { add: dy });
          matrixNT(p, { x, w: s.weight(w)!, y: yBias, first: 0, count: O }, { bias });
          matrixNT(p, { x, w: s.weight(w)!, y: yBoth, first: 0, count: O }, { add: dy, bias });
          matmulNN(p, { x: dy, w, y: dx });
          matmulNN(p, { x: dy, w, y: dxAcc }, { accumulate: true });
          matmulTN(p, { a: dy, b: x, y: dw });
        });
        t.equal(p.length, 12, 'x and dy are packed once: with the weight, dy’s measurement and seven products');
      }, { M, measureScales: 0 });
      const [xh, wh, dyh] = [half(xs, SCALES[1]!), half(ws, SCALES[0]!), half(dys, SCALES[2]!)];
      const want = twin.nt(xh, wh, M, I, O);
      const all = await read(y);
      close(t, 'nt', all.subarray(0, M * O), want, reduce(I), [M, O]);
      t.equal(all[M * O], 7, 'rows past M are not touched');
      close(t, 'nt + add', (await read(yAdd)).subarray(0, M * O), want.map((v, i) => v + dys[i]!), reduce(I), [M, O]);
      close(t, 'nt + bias', (await read(yBias)).subarray(0, M * O), want.map((v, i) => v + bs[i % O]!), reduce(I), [M, O]);
      close(t, 'nt + add + bias', (await read(yBoth)).subarray(0, M * O), want.map((v, i) => v + dys[i]! + bs[i % O]!), reduce(I), [M, O]);
      for (const [what, of] of [['add', yAdd], ['bias', yBias], ['add + bias', yBoth], ['nn +', dxAcc]] as const) t.equal((await read(of))[M * (of.shape[1] as number)], of === dxAcc ? 3 : 7, `${what}: rows past M are not touched`);
      const back = twin.nn(dyh, wh, M, O, I);
      close(t, 'nn', (await read(dx)).subarray(0, M * I), back, reduce(O), [M, I]);
      close(t, 'nn accumulates', (await read(dxAcc)).subarray(0, M * I), back.map((v) => v + 3), reduce(O), [M, I]);
      close(t, 'tn accumulates', await read(dw), twin.tn(dyh, xh, M, O, I).map((v) => v + 2), reduce(M), [O, I]);
      const peak = new Float32Array((await debugReadU32(s.peaks!)).buffer)[2];
      t.equal(peak, dys.reduce((m, v) => Math.max(m, Math.abs(v)), 0), 'the largest gradient is known');
      s.destroy();
    });
  }

  t.test('f16 by fours is f16 one by one: ties, subnormals, zeros, infinities and NaN', async (t) => {
    const edge = [0, -0, 1, -1, 6.1e-5, 6.104e-5, 6.2e-5, 5.96e-8, 2.98e-8, 2.9e-8, 1e-30, 65504, 65519.99, 65520, 1e9, Infinity, -Infinity, NaN, 1 + 2 ** -11, 1 + 3 * 2 ** -11, 2049, 2051, -2049, 3e-5 + 1e-9];
    // Each beside ones that take the short way, and among its like.
    const xs = Float32Array.from([...edge.flatMap((v) => [v, 1.5, 0, -3]), ...edge]);
    const x = upload(gpu, 'x', [1, xs.length], xs);
    const [w, y] = [output(gpu, 'w', [1, xs.length], 0), output(gpu, 'y', [1, 1])];
    const s = new OperandStore(gpu, found, 3, [{ bytes: packedBytes(1, xs.length, found), count: 1 }], true);
    let packed: Tensor | undefined;
    const scratch = s.scratch.bind(s);
    s.scratch = (...given) => (packed = scratch(...given));
    s.add(w, undefined, SLOTS);
    await runOnce(gpu, (p) => {
      s.pack(p, [w]);
      p.mixed(s, () => matmulNT(p, { x, w, y }));
    });
    const got = new Uint16Array((await debugReadU32(packed!)).buffer);
    const [block] = [Math.min(16, found.BK)];
    const bitsAt = (c: number): number => got[Math.floor(c / block) * 8 * block + (c % block)]!;
    const want = encode16(xs, 'F16');
    t.same(Array.from(xs, (_, c) => bitsAt(c)).filter((_, c) => !Number.isNaN(xs[c])), [...want].filter((_, c) => !Number.isNaN(xs[c])));
    t.ok(Array.from(xs, (v, c) => !Number.isNaN(v) || (bitsAt(c) & 0x7fff) > 0x7c00).every(Boolean), 'NaN stays NaN');
    s.destroy();
  });

  t.test('a range of rows: columns of a vocabulary tile', async (t) => {
    const [M, I, first, count] = [19, 12, 128, 21];
    const [O, Y] = [first + count + 5, 24];
    const [xs, ws] = [normals(3, M * I), normals(4, O * I)];
    const [x, w, tile] = [upload(gpu, 'x', [M, I], xs), upload(gpu, 'w', [O, I], ws), output(gpu, 'tile', [M, Y], 9)];
    const [dh, dw] = [output(gpu, 'dh', [M, I], 1), output(gpu, 'dw', [O, I], 1)];
    const s = operandStore(found, [{ w, dw }], M, Y);
    await runOnce(gpu, (p) => {
      s.pack(p, [w]);
      p.mixed(s, () => {
        matmulNT(p, { x, w, y: tile }, { first, count });
        matmulNN(p, { x: tile, w, y: dh }, { first, count, accumulate: true });
        matmulTN(p, { a: tile, b: x, y: dw }, { first, count });
        t.throws(() => matmulNT(p, { x, w, y: tile }, { first: 5, count }), /off the tiles/);
      });
    }, { measureScales: 1 });
    const part = half(ws, SCALES[0]!).slice(first * I, (first + count) * I);
    const want = twin.nt(half(xs, SCALES[1]!), part, M, I, count);
    const got = await read(tile);
    for (let m = 0; m < M; m++) t.same([...got.subarray(m * Y + count, (m + 1) * Y)], [9, 9, 9], 'columns past count are not touched');
    const cut = Float32Array.from(want, (_, i) => got[Math.floor(i / count) * Y + (i % count)]!);
    close(t, 'tile', cut, want, reduce(I), [M, count]);
    // Measured in the same submit: the power of two that brings the largest to at most 4096.
    const top = cut.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
    const scale = (await read(s.scales))[2]!;
    t.ok(Number.isInteger(Math.log2(scale)) && top * scale <= 4096 && top * scale > 2048, `${top} times ${scale}`);
    const rounded = half(cut, scale);
    close(t, 'dh', await read(dh), twin.nn(rounded, part, M, count, I).map((v) => v + 1), reduce(40), [M, I]);
    const dwWant = new Float64Array(O * I);
    dwWant.set(twin.tn(rounded, half(xs, SCALES[1]!), M, count, I), first * I);
    close(t, 'dw: rows outside the range are not touched', await read(dw), dwWant.map((v) => v + 1), reduce(40), [O, I]);
    s.destroy();
  });

  for (const M of [1200, 640, 37]) {
    t.test(`dW of few outputs in ranges of rows: M=${M} of 1203`, async (t) => {
      const [capacity, I, O] = [1203, 20, 24];
      const rows = new Dyn('M', capacity);
      t.equal(matrixChunk(found, capacity, O, I), 640, 'two ranges');
      const [xs, dys] = [normals(M, capacity * I), normals(M + 1, capacity * O).map((v) => v * 1e-3)];
      const [x, dy] = [upload(gpu, 'x', [rows, I], xs.map((v, i) => (i < M * I ? v : NaN))), upload(gpu, 'dy', [rows, O], dys.map((v, i) => (i < M * O ? v : NaN)))];
      const [w, dw] = [output(gpu, 'w', [O, I], 0), output(gpu, 'dw', [O, I], 2)];
      const s = operandStore(found, [{ w, dw }], capacity, O);
      await runOnce(gpu, (p) => {
        p.mixed(s, () => matmulTN(p, { a: dy, b: x, y: dw }));
        t.ok(p.dispatches({ M, measureScales: 0 }).some((d) => d.label === 'split_sum'));
      }, { M, measureScales: 0 });
      const [xh, dyh] = [half(xs.slice(0, M * I), SCALES[1]!), half(dys.slice(0, M * O), SCALES[2]!)];
      close(t, 'tn in ranges', await read(dw), twin.tn(dyh, xh, M, O, I).map((v) => v + 2), reduce(M), [O, I]);
      s.destroy();
    });
  }

  t.test('several subgroups, each with several matrices, and several inner steps to a tile', async (t) => {
    const tile = { ...found, BM: 4 * found.MM, BN: 2 * found.MN, BK: 2 * found.MK, WM: 2, WN: 1 };
    const [M, I, O] = [40, 72, 24];
    const [xs, ws, dys] = [normals(5, M * I), normals(6, O * I), normals(7, M * O)];
    const [x, w, dy, y, dw] = [upload(gpu, 'x', [M, I], xs), upload(gpu, 'w', [O, I], ws), upload(gpu, 'dy', [M, O], dys), output(gpu, 'y', [M, O], 7), output(gpu, 'dw', [O, I], 2)];
    const s = operandStore(tile, [{ w, dw }], M, I);
    await runOnce(gpu, (p) => {
      s.pack(p, [w]);
      p.mixed(s, () => {
        matmulNT(p, { x, w, y });
        matmulTN(p, { a: dy, b: x, y: dw });
      });
    }, { measureScales: 0 });
    const [xh, wh, dyh] = [half(xs, SCALES[1]!), half(ws, SCALES[0]!), half(dys, SCALES[2]!)];
    close(t, 'nt', await read(y), twin.nt(xh, wh, M, I, O), reduce(I), [M, O]);
    close(t, 'tn', await read(dw), twin.tn(dyh, xh, M, O, I).map((v) => v + 2), reduce(M), [O, I]);
    s.destroy();
  });

  t.test('a bias in a product has the bits of one added in a pass after it', async (t) => {
    const [M, I, O] = [37, 64, 172];
    const [x, w, add, bias] = [upload(gpu, 'x', [M, I], normals(1, M * I)), upload(gpu, 'w', [O, I], normals(2, O * I)), upload(gpu, 'add', [M, O], normals(3, M * O, 10)), upload(gpu, 'b', [O], normals(4, O))];
    for (const onto of [undefined, add]) {
      const made: string[] = [];
      for (const without of [false, true]) {
        const s = operandStore(found, [{ w }], M, O);
        const y = output(gpu, 'y', [M, O]);
        if (without) gpu.without.add('product_bias');
        await runOnce(gpu, (p) => {
          s.pack(p, [w]);
          p.mixed(s, () => matmulNT(p, { x, w, y }, { add: onto, bias }));
          t.equal(p.length, without ? 4 : 3, 'packing, the product, the bias');
        });
        gpu.without.delete('product_bias');
        made.push(new Uint32Array((await read(y)).buffer).join());
        s.destroy();
      }
      t.equal(made[0], made[1], onto ? 'with a residual' : 'alone');
    }
  });

  t.test('a row’s bits depend on that row alone, and on no tile: whole or at an edge, results staged at once or a row of subgroups at a time', async (t) => {
    const [I, O] = [64, 172];
    const narrow = { ...found, BM: 4 * found.MM, BN: 8 * found.MN, BK: found.MK, WM: 2, WN: 2 };
    t.same([larger, narrow].map((tile) => matrixTune(matrixKernels.nt_add[4], tile)['ROUNDS']), [1, 2]);
    const row = normals(7, I);
    const w = upload(gpu, 'w', [O, I], normals(8, O * I));
    const bias = upload(gpu, 'b', [O], normals(9, O));
    const bits: string[] = [];
    for (const [M, at, tile = found] of [[1, 0], [7, 3], [64, 63], [130, 66], [130, 66, larger], [7, 3, larger], [130, 66, narrow], [37, 36, narrow]] as Array<[number, number, MatrixTile?]>) {
      const xs = normals(M, M * I);
      xs.set(row, at * I);
      const [x, y, add] = [upload(gpu, 'x', [M, I], xs), output(gpu, 'y', [M, O]), output(gpu, 'sum', [M, O])];
      const s = operandStore(tile, [{ w }], M, O);
      await runOnce(gpu, (p) => {
        s.pack(p, [w]);
        p.mixed(s, () => {
          matmulNT(p, { x, w, y });
          matmulNT(p, { x, w, y: add }, { add: output(gpu, 'added', [M, O], 300.3), bias });
        });
      });
      const rows = await Promise.all([y, add].map(async (r) => (await read(r)).slice(at * O, (at + 1) * O)));
      bits.push(rows.map((r) => new Uint32Array(r.buffer).join()).join('; '));
      s.destroy();
    }
    for (const b of bits) t.equal(b, bits[0]);
  });
}
