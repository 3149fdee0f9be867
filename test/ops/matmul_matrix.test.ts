import t from 'tap';
import { matrixTile, sharedBytes, tileFor, type MatrixTile } from '../../src/gpu/matrices.js';
import { compileKernel } from '../../src/gpu/kernel.js';
import { OperandStore } from '../../src/gpu/operand_store.js';
import { matrixChunk, matrixNT } from '../../src/gpu/ops/matmul_matrix.js';
import { filledKernels, formsOf, matrixKernels, matrixTune } from '../../src/gpu/ops/matmul_matrix_kernels.js';
import { packedBytes } from '../../src/gpu/ops/operand_layout.js';
import { matmulNN, matmulNT, matmulTN } from '../../src/gpu/ops/matmul.js';
import { PackedTensor, WEIGHT_FORMATS, type PackedFormat } from '../../src/gpu/packed.js';
import { debugReadU32 } from '../../src/gpu/readback.js';
import { Dyn, type Tensor } from '../../src/gpu/tensor.js';
import { decode16, encode16 } from '../../src/model/files/float_formats.js';
import { fillPacked, readPacked } from '../../src/model/packing/packed.js';
import { close, reduce } from '../helpers/close.js';
import { nullGpu, output, read, runOnce, testGpu, upload } from '../helpers/gpu.js';
import { normals } from '../helpers/rng.js';
import * as twin from '../reference/matmul.js';

const gpu = await testGpu();
const found = matrixTile(gpu);
const half = (x: Float32Array, scale: number): Float32Array => decode16(encode16(x.map((v) => v * scale), 'F16'), 'F16').map((v) => v / scale);
const SLOTS = { weight: 0, input: 1, gradient: 2 };
const SCALES = [2, 0.25, 1024];
const FROZEN = WEIGHT_FORMATS.filter((f): f is PackedFormat => f !== 'f32');

function store(tile: MatrixTile, w: Tensor, dw: Tensor | undefined, rows: number, widest: number, room = 0): OperandStore {
  const s = new OperandStore(gpu, tile, 3, [{ bytes: packedBytes(rows, widest, tile), count: 3 }], true, room);
  s.scales.write(Float32Array.from(SCALES));
  s.lossScale!.write(Float32Array.of(4096, 0, 0, 0));
  s.add(w, dw, SLOTS);
  return s;
}

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
      const s = store(tile, w, dw, M + 3, Math.max(I, O));
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

  const several = { ...found, BN: 2 * found.MN, BK: 4 * found.MK, WN: 2 };
  // Rows that are no whole eights (element by element) or fours; whole eights off nf4's blocks of 64; scales of scales for more than one block of 256; a card's tile.
  for (const [M, I, O, tile = found] of [[1, 1, 1], [5, 123, 7], [9, 20, 37], [19, 72, 44], [4, 520, 70], [33, 88, 132, several]] as Array<[number, number, number, MatrixTile?]>) {
    t.test(`frozen weights M=${M} I=${I} O=${O} in tiles of ${tile.BM} x ${tile.BN} x ${tile.BK}: read as they are kept, unpacked first, and from a copy of what they stand for, the same bits; the twin’s numbers`, async (t) => {
      // Columns past those that count, whole fours where those are.
      const Y = O + (O % 4 === 0 ? 4 : 3);
      const ws = normals(O, O * I, 0.3).map((v, i) => (i % 11 === 5 ? v * 1e-6 : v));
      const [xs, dys] = [normals(M, M * I), normals(3, M * O).map((v) => v * 1e-3)];
      const [x, dy] = [upload(gpu, 'x', [M, I], xs), upload(gpu, 'dy', [M, O], dys)];
      const [xh, dyh] = [half(xs, SCALES[1]!), half(dys, SCALES[2]!)];
      // What is added to is no matter of the format, nor is a tile's size: one or two of them show it.
      for (const format of tile === several || I === 20 ? (['int8', 'nf4_double'] as const) : FROZEN) {
        const sums = format === 'int8' && (I === 20 || I === 72);
        const frozen = new PackedTensor(gpu, 'w', [O, I], format);
        await fillPacked(frozen, 'w', (first, rows) => ws.subarray(first * I, (first + rows) * I), 'other');
        // int8 counts in steps of a row's scale over 127, rounded once.
        const steps = format === 'int8' ? (await read(frozen.scales!)).map((s) => s * Math.fround(1 / 127)) : undefined;
        const values = (await readPacked(frozen)).map((v, i) => (steps ? Math.round(v / steps[Math.floor(i / I)]!) * steps[Math.floor(i / I)]! : v));
        const bits: number[][] = [];
        for (const way of ['copy', 'kept', 'room'] as const) {
          const w = way === 'copy' ? upload(gpu, 'w', [O, I], values) : frozen;
          const [y, added, dx, dxAcc] = [output(gpu, 'y', [M, Y], 7), output(gpu, 'y+', [M, O], 7), output(gpu, 'dx', [M, I], 3), output(gpu, 'dx+', [M, I], 3)];
          const s = store(tile, w, undefined, M, Math.max(I, O), way === 'room' ? packedBytes(O, I, tile) : 0);
          await runOnce(gpu, (p) => {
            s.pack(p, [w]);
            p.mixed(s, () => {
              matmulNT(p, { x, w, y });
              matmulNN(p, { x: dy, w, y: dx });
              if (!sums) return;
              matmulNN(p, { x: dy, w, y: dxAcc }, { accumulate: true });
              matmulNT(p, { x, w, y: added }, { add: dy });
            });
            const forms = [['nt', O], ['nn', I], ...(sums ? [['nn_acc', I], ['nt_add', O]] as const : [])] as const;
            t.same(p.dispatches({ measureScales: 0 }).filter(({ label }) => /matmul/.test(label)).map(({ label }) => label), forms.map(([form, n]) => `matmul.matrix_${form}${n % 4 === 0 ? '' : '_scalar'}${way === 'kept' ? `.${format}${I % 8 === 0 ? '' : '_each'}` : ''}`));
            t.equal(p.length, (way === 'kept' ? 6 : 7) + (sums ? 2 : 0), 'x and dy packed once, dy measured; a copy or the unpacking once');
          }, { measureScales: 0 });
          bits.push((await Promise.all([y, added, dx, dxAcc].map((out) => debugReadU32(out)))).flatMap((u) => [...u]));
          const got = await read(y);
          const want = twin.nt(xh, half(values, SCALES[0]!), M, I, O);
          close(t, `${format} ${way} nt`, got.filter((_, i) => i % Y < O), want, reduce(I), [M, O]);
          t.ok(got.every((v, i) => i % Y < O || v === 7), 'columns past O are not touched');
          const back = twin.nn(dyh, half(values, SCALES[0]!), M, O, I);
          close(t, `${format} ${way} nn`, await read(dx), back, reduce(O), [M, I]);
          if (sums) close(t, `${format} ${way} nt + add`, await read(added), want.map((v, i) => v + dys[i]!), reduce(I), [M, O]);
          if (sums) close(t, `${format} ${way} nn accumulates`, await read(dxAcc), back.map((v) => v + 3), reduce(O), [M, I]);
          s.destroy();
        }
        t.same(bits[1], bits[0], `${format} as it is kept`);
        t.same(bits[2], bits[0], `${format} unpacked first`);
      }
    });
  }

  t.test('ranges of rows of a frozen weight', async (t) => {
    const [M, I, O, first, count] = [6, 24, 90, 32, 37];
    const [xs, dys, ws] = [normals(1, M * I), normals(2, M * count), normals(3, O * I)];
    const [x, dy] = [upload(gpu, 'x', [M, I], xs), upload(gpu, 'dy', [M, count], dys)];
    for (const format of FROZEN) {
      const w = new PackedTensor(gpu, 'w', [O, I], format);
      await fillPacked(w, 'w', (from, rows) => ws.subarray(from * I, (from + rows) * I), 'other');
      const part = half((await readPacked(w)).slice(first * I, (first + count) * I), SCALES[0]!);
      for (const room of [0, packedBytes(count, I, found)]) {
        const [y, dx] = [output(gpu, 'y', [M, count], 7), output(gpu, 'dx', [M, I], 3)];
        const s = store(found, w, undefined, M, count, room);
        await runOnce(gpu, (p) => p.mixed(s, () => {
          matmulNT(p, { x, w, y }, { first, count });
          matmulNN(p, { x: dy, w, y: dx }, { first, count });
        }), { measureScales: 0 });
        close(t, `${format} nt`, await read(y), twin.nt(half(xs, SCALES[1]!), part, M, I, count), reduce(I), [M, count]);
        close(t, `${format} nn`, await read(dx), twin.nn(half(dys, SCALES[2]!), part, M, count, I), reduce(count), [M, I]);
        s.destroy();
      }
    }
  });

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
    const s = store(found, w, dw, M, Y);
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
      const s = store(found, w, dw, capacity, O);
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
    const s = store(tile, w, dw, M, I);
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
        const s = store(found, w, undefined, M, O);
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
      const s = store(tile, w, undefined, M, O);
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

const withFlags = [undefined, { format: 'nf4_double', by: 8 }].flatMap((of) => Object.values(filledKernels(of as Parameters<typeof filledKernels>[0])).map((k) => k[4]));
const withFrozen = FROZEN.flatMap((format) => (['nt', 'nt_add', 'nt_add_bias', 'nn', 'nn_acc'] as const).flatMap((form) => ([8, 1] as const).map((by) => formsOf(form, { format, by })[by === 8 ? 4 : 1])));

t.test('every form compiles for matrices of 16 x 16 x 16, 16 x 8 x 16 and 8 x 8 x 8 with 32 lanes', async (t) => {
  const none = await nullGpu();
  for (const [MM, MN, MK] of [[16, 16, 16], [16, 8, 16], [8, 8, 8]] as const) {
    const tile = tileFor({ MM, MN, MK, SG: 32 }, none.limits);
    t.same([tile.BM, tile.BN], [128, 128]);
    t.equal(tile.BK, 16, 'as much as the null backend’s workgroup memory holds');
    // A tile whose results do not divide among the lanes.
    const uneven = { ...tile, BM: 32, BN: 4 * MN, BK: 32, WM: 1, WN: 4 };
    for (const kernel of [matrixKernels.nt_add[4], matrixKernels.nt_add[1]]) await t.resolves(compileKernel(none, kernel, matrixTune(kernel, uneven)).pipeline, `${kernel.name}, EVEN ${matrixTune(kernel, uneven)['EVEN']}`);
    for (const kernel of [...Object.values(matrixKernels).flatMap((k) => [k[1], k[4]]), ...withFlags, ...(MN === 16 ? withFrozen : [])]) await t.resolves(compileKernel(none, kernel, matrixTune(kernel, tile)).pipeline, `${kernel.name} ${MM}x${MN}x${MK}`);
  }
  none.close();
});

t.test('the tile of a GPU, 128 x 128 x 32, compiles up to the one thing the null backend has not: the workgroup memory, as much as the host counts', async (t) => {
  const none = await nullGpu();
  for (const [MM, MN, MK] of [[16, 16, 16], [16, 8, 16], [8, 8, 8]] as const) {
    const tile = tileFor({ MM, MN, MK, SG: 32 }, { ...none.limits, workgroupBytes: 48 << 10 });
    t.equal(tile.BK, 32);
    const most = sharedBytes(tile);
    for (const kernel of [...Object.values(matrixKernels).flatMap((k) => [k[1], k[4]]), ...withFlags, ...(MN === 16 ? withFrozen : [])]) {
      const error = await compileKernel(none, kernel, matrixTune(kernel, tile)).pipeline.then(() => undefined, (e: Error) => e);
      const found = /total use of workgroup storage \((\d+) bytes\) is larger than the maximum allowed \(16384 bytes\)/.exec(error?.message ?? '');
      t.ok(found && Number(found[1]) <= most, `${kernel.name} ${MM}x${MN}x${MK}, ${most} bytes: ${error?.message.split('\n')[0]}`);
    }
  }
  none.close();
});
