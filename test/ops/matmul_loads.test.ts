import t from 'tap';
import { matrixTile, type MatrixTile } from '../../src/gpu/matrices.js';
import { packedBytes } from '../../src/gpu/ops/operand_layout.js';
import { matmulNN, matmulNT } from '../../src/gpu/ops/matmul.js';
import { PackedTensor, WEIGHT_FORMATS, type PackedFormat } from '../../src/gpu/packed.js';
import { debugReadU32 } from '../../src/gpu/readback.js';
import { fillPacked, readPacked } from '../../src/model/packing/packed.js';
import { close, reduce } from '../helpers/close.js';
import { output, read, runOnce, testGpu, upload } from '../helpers/gpu.js';
import { normals } from '../helpers/rng.js';
import { half, operandStore, SCALES } from '../helpers/operand_store.js';
import * as twin from '../reference/matmul.js';

const gpu = await testGpu();
const found = matrixTile(gpu);
const FROZEN = WEIGHT_FORMATS.filter((f): f is PackedFormat => f !== 'f32');

if (typeof found === 'string') {
  t.pass(`no matrices here: ${found}`);
} else {
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
          const s = operandStore(tile, [{ w }], M, Math.max(I, O), way === 'room' ? packedBytes(O, I, tile) : 0);
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
        const s = operandStore(found, [{ w }], M, count, room);
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
}
