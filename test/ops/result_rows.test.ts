import t from 'tap';
import { compileKernel } from '../../src/gpu/kernel.js';
import { matrixTile, sharedBytes, tileFor, type MatrixTile } from '../../src/gpu/matrices.js';
import { OperandStore } from '../../src/gpu/operand_store.js';
import { headBytes } from '../../src/gpu/ops/attention_matrix.js';
import { matmulNT } from '../../src/gpu/ops/matmul.js';
import { matrixTune, type Frozen } from '../../src/gpu/ops/matmul_matrix_kernels.js';
import { packedBytes, padded } from '../../src/gpu/ops/operand_layout.js';
import { operand } from '../../src/gpu/ops/pack_f16.js';
import { matrixRows, rowsKernels, turnsInProduct } from '../../src/gpu/ops/result_rows.js';
import { rope, ropeTable } from '../../src/gpu/ops/rope.js';
import { seqSum } from '../../src/gpu/ops/seq_sum.js';
import { debugReadU32 } from '../../src/gpu/readback.js';
import { Dyn, Tensor } from '../../src/gpu/tensor.js';
import { decode16, encode16 } from '../../src/model/files/float_formats.js';
import { close, type Tolerance } from '../helpers/close.js';
import { nullGpu, output, runOnce, testGpu, upload } from '../helpers/gpu.js';
import { normals, rng } from '../helpers/rng.js';
import * as twin from '../reference/matmul.js';

/*
 * Queries, keys and values straight from their products: the bits of the product in f32, a bias added and turned in passes of their own, then packed; and near
 * the same in f64.
 */
const gpu = await testGpu();
const found = matrixTile(gpu);
const SLOTS = { weight: 0, input: 1, gradient: 2 };
const SLOT = 3;
const SCALES = [2, 0.25, 1024, 8];
const half = (x: ArrayLike<number>, scale: number): Float32Array => decode16(encode16(Float32Array.from(x, (v) => v * scale), 'F16'), 'F16').map((v) => v / scale);
/** One rounding to f16 beside what sums in another order differ by. */
const rounded: Tolerance = { atol: 1e-5, rtol: 2 ** -10, name: 'f16' };

/** The f64 twin: heads of C columns, of which the first R are turned. */
function turned(x: Float64Array, N: number, W: number, C: number, R: number, angle: (n: number, i: number) => number): Float64Array {
  const y = x.slice();
  for (let n = 0; n < N; n++) for (let h = 0; h < W; h += C) for (let i = 0; i < R / 2; i++) {
    const [at, th] = [n * W + h + i, angle(n, i)];
    y[at] = x[at]! * Math.cos(th) - x[at + R / 2]! * Math.sin(th);
    y[at + R / 2] = x[at + R / 2]! * Math.cos(th) + x[at]! * Math.sin(th);
  }
  return y;
}

if (typeof found === 'string') {
  t.pass(`no matrices here: ${found}`);
} else {
  const larger: MatrixTile = { ...found, BM: 2 * found.MM, BN: 4 * found.MN, BK: 4 * found.MK, WM: 2, WN: 2 };
  const narrow: MatrixTile = { ...found, BM: 4 * found.MM, BN: 8 * found.MN, BK: found.MK, WM: 2, WN: 2 };
  const C = found.MN;
  // Rows and inner sizes off the tiles; heads as wide as a matrix and as a tile, some turned in part, none turned.
  for (const [M, I, heads, width, R, bias, tile] of [
    [1, 3, 1, C, 8, false, found], [37, 20, 3, C, C, true, found], [67, 33, 5, C, C, true, larger], [67, 64, 3, 2 * C, 8, true, larger], [33, 12, 5, 4 * C, 4 * C, false, larger],
    [70, 36, 3, 4 * C, 2 * C, true, narrow], [67, 33, 5, C, 0, true, larger], [40, 64, 3, 3 * C, 0, false, larger],
  ] as Array<[number, number, number, number, number, boolean, MatrixTile]>) {
    t.test(`${heads} heads of ${width}, ${R} turned${bias ? ', with a bias' : ''}: M=${M} I=${I} in tiles of ${tile.BM} x ${tile.BN} x ${tile.BK}`, async (t) => {
      const [rows, O, positions] = [new Dyn('M', M + 3), heads * width, 50];
      const r = rng(M);
      const [xs, ws, bs, at] = [normals(M, (M + 3) * I), normals(I, O * I), normals(O, O), Uint32Array.from({ length: M + 3 }, () => r.int(positions))];
      const frequencies = Array.from({ length: R / 2 }, (_, i) => 10 ** (-2 * i / R));
      const first = 2;
      // Two rows of another kind before this layer's.
      const table = R > 0 ? upload(gpu, 'table', [positions + first, R], Float32Array.from([...new Float32Array(first * R).fill(7), ...ropeTable(positions, frequencies)])) : undefined;
      const [x, w, b, position] = [upload(gpu, 'x', [rows, I], xs), upload(gpu, 'w', [O, I], ws), bias ? upload(gpu, 'b', [O], bs) : undefined, upload(gpu, 'at', [rows], at)];
      const stride = padded(O, tile) / 8;
      const made: Uint32Array[] = [];
      for (const form of ['in passes', 'at once'] as const) {
        const store = new OperandStore(gpu, tile, 4, [{ bytes: packedBytes(M + 3, Math.max(I, O), tile), count: 2 }], false);
        store.scales.write(Float32Array.from(SCALES));
        store.add(w, undefined, SLOTS);
        const y = output(gpu, 'y', [rows, O], NaN);
        const into = new Tensor(gpu, 'into', [headBytes(M + 3, heads, width, tile) / 4], 'u32');
        into.write(new Uint32Array(into.elements).fill(0xdeadbeef));
        await runOnce(gpu, (p) => {
          store.pack(p, [w]);
          p.mixed(store, () => {
            if (form === 'in passes') {
              // As a layer has it: heads that are turned whole take their bias then.
              const whole = R === width;
              matmulNT(p, { x, w, y }, { bias: whole ? undefined : b });
              if (table) rope(p, { x: y, table, position, bias: whole ? b : undefined }, { C: width, first });
              return operand(p, y, SLOT, { layout: 'rows', into });
            }
            matrixRows(p, { x, w: store.weight(w)!, y, into }, SLOT, { bias: b, turn: table && { table, position, C: width, first } });
            t.equal(operand(p, y, SLOT, { layout: 'rows', extraRows: 64 }).packed, into, 'what attention asks for');
            t.throws(() => seqSum(p, { stats: y, seqStart: upload(gpu, 's', [2], new Uint32Array(2)), seqStats: output(gpu, 'q', [1, O]) }), /was made as a packed operand alone/, 'no f32 form to read');
            return undefined;
          });
          if (form === 'at once') t.equal(p.length, 3, 'the weight and x are packed; one product');
        }, { M });
        const words = await debugReadU32(into);
        made.push(Uint32Array.from({ length: M * (O / 2) }, (_, i) => words[Math.floor(i / (O / 2)) * stride * 4 + (i % (O / 2))]!));
        if (form === 'at once') t.equal(words[M * stride * 4], 0xdeadbeef, 'rows past M are not touched');
        store.destroy();
      }
      t.same(made[1], made[0], 'the same bits');
      const got = decode16(new Uint16Array(made[1]!.buffer), 'F16').map((v) => v / SCALES[SLOT]!);
      const sums = twin.nt(half(xs.subarray(0, M * I), SCALES[1]!), half(ws, SCALES[0]!), M, I, O).map((v, i) => v + (bias ? bs[i % O]! : 0));
      close(t, 'against f64', got, turned(Float64Array.from(sums), M, O, width, R, (n, i) => at[n]! * frequencies[i]!), rounded, [M, O]);
    });
  }

  t.test('heads that a tile cuts are refused', async (t) => {
    t.notOk(turnsInProduct(larger, 3 * C, C));
    t.notOk(turnsInProduct(larger, C, 4), 'pairs that are no whole fours');
  });
}

t.test('every form compiles for the tiles of a GPU, up to its workgroup memory', async (t) => {
  const none = await nullGpu();
  for (const [MM, MN, MK] of [[16, 16, 16], [16, 8, 16], [8, 8, 8]] as const) {
    const tile = tileFor({ MM, MN, MK, SG: 32 }, none.limits);
    for (const kernel of [undefined, { format: 'nf4', by: 8 }, { format: 'int8', by: 1 }].flatMap((of) => Object.values(rowsKernels(of as Frozen)))) await t.resolves(compileKernel(none, kernel, matrixTune(kernel, tile)).pipeline, `${kernel.name} ${MM}x${MN}x${MK}`);
    const wide = tileFor({ MM, MN, MK, SG: 32 }, { ...none.limits, workgroupBytes: 48 << 10 });
    t.same([8, 16, 32, 64, 128, 96, 80, 256].map((C) => turnsInProduct(wide, C, 8)), [true, true, true, true, true, false, false, false]);
    t.ok(sharedBytes(wide) <= 20480 + 64, 'no more than the operands and nf4’s table take');
  }
  none.close();
});
