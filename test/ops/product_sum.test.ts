import t from 'tap';
import { matrixTile, type MatrixTile } from '../../src/gpu/matrices.js';
import { OperandStore } from '../../src/gpu/operand_store.js';
import { packedBytes } from '../../src/gpu/ops/operand_layout.js';
import { matmulNNSum, matmulTN } from '../../src/gpu/ops/matmul.js';
import { PackedTensor } from '../../src/gpu/packed.js';
import { debugReadU32 } from '../../src/gpu/readback.js';
import { Dyn, type Tensor } from '../../src/gpu/tensor.js';
import { close, reduce } from '../helpers/close.js';
import { output, read, runOnce, testGpu, upload } from '../helpers/gpu.js';
import { half } from '../helpers/operand_store.js';
import { normals } from '../helpers/rng.js';
import * as twin from '../reference/matmul.js';

const gpu = await testGpu();
const found = matrixTile(gpu);

/** The powers of two of a term: of its weight and of its gradient. */
interface Scales { weight: number; gradient: number }
const INPUT = 0;

/** Weights [O_s, I] of layers that read one input, a slot each for weight and gradient, and rooms for operands. */
function layers(tile: MatrixTile, I: number, depths: number[], scales: Scales[], rooms: Array<{ bytes: number; count: number }>, ws: Float32Array[]): { s: OperandStore; w: Tensor[]; dw: Tensor[] } {
  const s = new OperandStore(gpu, tile, 1 + 2 * depths.length, rooms, true);
  s.scales.write(Float32Array.from([1, ...scales.flatMap(({ weight, gradient }) => [weight, gradient])]));
  s.lossScale!.write(Float32Array.of(4096, 0, 0, 0));
  const w = depths.map((O, i) => upload(gpu, `w${i}`, [O, I], ws[i]!));
  const dw = depths.map((O, i) => output(gpu, `dw${i}`, [O, I], 2));
  w.forEach((value, i) => s.add(value, dw[i], { weight: 1 + 2 * i, input: INPUT, gradient: 2 + 2 * i }));
  return { s, w, dw };
}

/** Σ of the twin's products of what f16 keeps. */
const expected = (xs: Float32Array[], ws: Float32Array[], scales: Scales[], M: number, depths: number[], I: number): Float64Array =>
  depths.map((O, i) => twin.nn(half(xs[i]!, scales[i]!.gradient), half(ws[i]!, scales[i]!.weight), M, O, I)).reduce((sum, y) => sum.map((v, i) => v + y[i]!));

if (typeof found === 'string') {
  t.pass(`no matrices here: ${found}`);
} else {
  const rooms = (tile: MatrixTile, M: number, widest: number, count: number): Array<{ bytes: number; count: number }> => [{ bytes: packedBytes(M, widest, tile), count }];
  // As in matmul_matrix.test.ts: a processor's own tile is one matrix, a card's has several in every direction.
  const larger = { ...found, BM: 2 * found.MM, BN: 4 * found.MN, BK: 4 * found.MK, WM: 2, WN: 2 };
  const bits = new Map<string, number[]>();
  for (const [M, I, depths, tile = found] of [[1, 1, [1, 1]], [5, 123, [7, 40]], [37, 36, [70, 9, 33]], [37, 36, [70, 9, 33], larger], [33, 64, [24, 24, 100]], [64, 32, [96, 32], larger]] as Array<[number, number, number[], MatrixTile?]>) {
    t.test(`a sum of products M=${M} I=${I} depths=${depths.join()} in tiles of ${tile.BM} x ${tile.BN} x ${tile.BK} against the twin of the rounded operands, rows past M NaN`, async (t) => {
      const rows = new Dyn('M', M + 3);
      const scales = depths.map((_, i) => ({ weight: 2 ** (1 - i), gradient: 2 ** (10 - 3 * (i % 2)) }));
      const nans = (data: Float32Array, length: number): Float32Array => Float32Array.from({ length }, (_, i) => data[i] ?? NaN);
      const ws = depths.map((O, i) => normals(10 + i, O * I));
      const dys = depths.map((O, i) => normals(20 + i, M * O).map((v) => v * 1e-3));
      const xs = normals(30, M * I);
      const { s, w, dw } = layers(tile, I, depths, scales, rooms(tile, M + 3, Math.max(I, ...depths), depths.length + 1), ws);
      const x = upload(gpu, 'x', [rows, I], nans(xs, (M + 3) * I));
      const dy = dys.map((values, i) => upload(gpu, `dy${i}`, [rows, depths[i]!], nans(values, (M + 3) * depths[i]!)));
      const dx = output(gpu, 'dx', [rows, I], 3);
      await runOnce(gpu, (p) => {
        for (const value of w) s.pack(p, [value]);
        p.mixed(s, () => {
          t.ok(matmulNNSum(p, dy.map((of, i) => ({ x: of, w: w[i]! })), dx, x));
          dw.forEach((y, i) => matmulTN(p, { a: dy[i]!, b: x, y }));
        });
        t.equal(p.length, w.length + 1 + 3 * w.length + 1 + w.length, 'the weights; x packed once; each gradient measured and packed once; one product; the gradients of the weights');
        t.ok(p.dispatches({ M, measureScales: 0 }).some(({ label, inputs }) => label === `matmul.matrix_nn_sum${depths.length}${I % 4 === 0 ? '' : '_scalar'}` && inputs['count'] === depths.reduce((a, b) => a + b)));
      }, { M, measureScales: 0 });
      const got = await read(dx);
      close(t, 'dx', got.subarray(0, M * I), expected(dys, ws, scales, M, depths, I), reduce(depths.reduce((a, b) => a + b)), [M, I]);
      t.ok(got.subarray(M * I).every((v) => v === 3), 'rows past M are not touched');
      for (const [i, O] of depths.entries()) close(t, `dw${i}`, await read(dw[i]!), twin.tn(half(dys[i]!, scales[i]!.gradient), half(xs, 1), M, O, I).map((v) => v + 2), reduce(M), [O, I]);
      const name = `${M} ${I} ${depths.join()}`;
      const made = [...(await debugReadU32(dx))];
      t.same(made, bits.get(name) ?? made, 'the tile moves no bit');
      bits.set(name, made);
      s.destroy();
    });
  }

  const permutations = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
  for (const far of [20, 30, 60]) {
    t.test(`scales 2^-${far}, 1 and 2^${far} of weights and gradients, in every order: nothing overflows, and rows that only the finest term fills keep what f32 holds of it`, async (t) => {
      const [M, I, O] = [13, 20, 24];
      // By unit, from the finest to the coarsest; numbers as large as their scale wants them.
      const of = [{ weight: 2 ** far, gradient: 2 ** far }, { weight: 1, gradient: 1 }, { weight: 2 ** -far, gradient: 2 ** -far }];
      const data = of.map(({ weight, gradient }, i) => ({ w: normals(40 + i, O * I).map((v) => v / 8 / weight), x: normals(50 + i, M * O).map((v, e) => (Math.floor(e / O) % 3 < i ? 0 : v / 8 / gradient)) }));
      for (const terms of [...permutations, [0, 2], [2, 0]]) {
        const [scales, ws, xs, depths] = [terms.map((i) => of[i]!), terms.map((i) => data[i]!.w), terms.map((i) => data[i]!.x), terms.map(() => O)];
        const { s, w } = layers(found, I, depths, scales, rooms(found, M, O, 3), ws);
        const y = output(gpu, 'y', [M, I], 3);
        await runOnce(gpu, (p) => {
          s.pack(p, w);
          p.mixed(s, () => void matmulNNSum(p, xs.map((x, i) => ({ x: upload(gpu, 'x', [M, O], x), w: w[i]! })), y));
        }, { measureScales: 0 });
        const [got, want] = [await read(y), expected(xs, ws, scales, M, depths, I)];
        const name = terms.map((i) => `2^${2 * far * (1 - i)}`).join(', ');
        for (const filled of [0, 1, 2]) {
          const cut = (all: ArrayLike<number>): number[] => Array.from(all).filter((_, e) => Math.floor(e / I) % 3 === filled);
          // 2^-120 of a sum, or less, may be no f32: what is below the least one in the coarsest unit goes, 2^-78 of the product of two of that term's smallest f16 numbers.
          const coarsest = Math.min(...scales.map(({ weight, gradient }) => weight * gradient));
          const [{ atol, rtol }, most] = [reduce(O), cut(want).reduce((m, v) => Math.max(m, Math.abs(v)), 0)];
          if (far > 20 && filled < 2) t.ok(cut(got).every((v, e) => Math.abs(v - cut(want)[e]!) <= 2 ** -126 / coarsest + atol * most + rtol * Math.abs(cut(want)[e]!)), `units ${name}, rows ${filled}: off by at most 2^-126 in the coarsest unit`);
          else close(t, `units ${name}, rows ${filled}`, cut(got), cut(want), reduce(O));
        }
        s.destroy();
      }
    });
  }

  t.test('one by one where there is one term, or four; where a weight is frozen in fewer bits; where the operands have no room at once; where the path is off', async (t) => {
    const [M, I, depths] = [9, 16, [24, 8, 8]];
    const ws = depths.map((O, i) => normals(i, O * I));
    const scales = depths.map(() => ({ weight: 1, gradient: 1 }));
    const dy = depths.map((O) => output(gpu, 'dy', [M, O], 1));
    const [x, dx] = [output(gpu, 'x', [M, I], 1), output(gpu, 'dx', [M, I], 0)];
    // A narrow operand goes to the smallest room it fits.
    const [narrow, wide] = [packedBytes(M, I, found), packedBytes(M, 24, found)];
    const frozen = new PackedTensor(gpu, 'frozen', [8, I], 'bf16');
    const made = async (sizes: number[], which: number[], o: { frozen?: boolean; off?: boolean; x?: boolean } = {}): Promise<boolean> => {
      const { s, w } = layers(found, I, depths, scales, sizes.map((bytes) => ({ bytes, count: 1 })), ws);
      if (o.frozen) s.add((w[2] = frozen), undefined, { weight: 5, input: INPUT, gradient: 6 });
      if (o.off) gpu.without.add('product_sums');
      let summed = false;
      await runOnce(gpu, (p) => p.mixed(s, () => {
        summed = matmulNNSum(p, which.map((i) => ({ x: dy[i]!, w: w[i]! })), dx, o.x ? x : undefined);
        t.equal(p.length > 0, summed, 'recorded or nothing');
      }), { measureScales: 0 });
      gpu.without.delete('product_sums');
      s.destroy();
      return summed;
    };
    const all = [narrow, narrow, narrow, wide];
    t.same([await made(all, [0, 1, 2], { x: true }), await made(all, [0, 1]), await made(all, [0]), await made(all, [0, 1, 2, 2])], [true, true, false, false]);
    t.same([await made(all, [0, 1, 2], { frozen: true }), await made(all, [0, 1], { frozen: true }), await made(all, [0, 1, 2], { off: true })], [false, true, false]);
    t.same([await made([narrow, narrow, narrow], [0, 1, 2]), await made([narrow, narrow, wide], [0, 1, 2]), await made([narrow, narrow, wide], [0, 1, 2], { x: true }), await made([narrow, wide, wide], [0, 1, 2])], [false, true, false, true]);
  });
}
