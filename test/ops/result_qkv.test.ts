import t from 'tap';
import { kernelSource } from '../../src/gpu/kernel.js';
import { matrixTile, tileFor, type MatrixTile } from '../../src/gpu/matrices.js';
import { OperandStore } from '../../src/gpu/operand_store.js';
import { headBytes } from '../../src/gpu/ops/attention_matrix.js';
import { matrixTune } from '../../src/gpu/ops/matmul_matrix_kernels.js';
import { packedBytes, padded } from '../../src/gpu/ops/operand_layout.js';
import { matrixQkv, qkvKernels, type Side } from '../../src/gpu/ops/result_qkv.js';
import { matrixRows } from '../../src/gpu/ops/result_rows.js';
import { ropeTable } from '../../src/gpu/ops/rope.js';
import { PackedTensor } from '../../src/gpu/packed.js';
import { debugReadU32 } from '../../src/gpu/readback.js';
import { Dyn, Tensor } from '../../src/gpu/tensor.js';
import { decode16 } from '../../src/model/files/float_formats.js';
import { close, type Tolerance } from '../helpers/close.js';
import { nullGpu, output, runOnce, testGpu, upload } from '../helpers/gpu.js';
import { half } from '../helpers/operand_store.js';
import { normals, rng } from '../helpers/rng.js';
import * as twin from '../reference/matmul.js';

/* Queries, keys and values in one dispatch: the bits of result_rows.ts three times, which result_rows.test.ts holds to its twin; the values, which are not turned, to the twin here. */
const gpu = await testGpu();
const found = matrixTile(gpu);
const INPUT = 0;
/** Of the input; of weights, gradients and heads of each side. */
const SCALES = [0.25, 2, 1, 8, 4, 1, 32, 0.5, 1, 16];
const rounded: Tolerance = { atol: 1e-5, rtol: 2 ** -10, name: 'f16' };

if (typeof found === 'string') {
  t.pass(`no matrices here: ${found}`);
} else {
  const larger: MatrixTile = { ...found, BM: 2 * found.MM, BN: 4 * found.MN, BK: 4 * found.MK, WM: 2, WN: 2 };
  const wide: MatrixTile = { ...found, BN: 2 * found.MN };
  const C = found.MN;
  // Rows and inner sizes off the tiles; keys of less than a tile and of several, as many as queries. A large tile takes lavapipe long to compile.
  for (const [M, I, H, G, width, R, bias, tile] of [
    [1, 3, 1, 1, C, 8, false, found], [37, 20, 6, 2, C, C, true, found], [67, 33, 6, 1, C, C, true, larger], [67, 64, 5, 5, 2 * C, 8, false, wide], [40, 36, 7, 3, C, 0, true, found], [33, 24, 3, 1, C, 0, false, found],
  ] as Array<[number, number, number, number, number, number, boolean, MatrixTile]>) {
    t.test(`${H} and ${G} heads of ${width}, ${R} turned${bias ? ', with biases' : ''}: M=${M} I=${I} in tiles of ${tile.BM} x ${tile.BN} x ${tile.BK}`, async (t) => {
      const [rows, positions, first] = [new Dyn('M', M + 3), 50, 2];
      const r = rng(M);
      const xs = normals(M, (M + 3) * I);
      const table = R > 0 ? upload(gpu, 'table', [positions + first, R], Float32Array.from([...new Float32Array(first * R).fill(7), ...ropeTable(positions, Array.from({ length: R / 2 }, (_, i) => 10 ** (-2 * i / R)))])) : undefined;
      const [x, position] = [upload(gpu, 'x', [rows, I], xs), upload(gpu, 'at', [rows], Uint32Array.from({ length: M + 3 }, () => r.int(positions)))];
      const heads = [H, G, G];
      const [ws, bs] = [heads.map((n, s) => normals(I + s, n * width * I)), heads.map((n, s) => normals(70 + s, n * width))];
      const [w, b] = [ws.map((v, s) => upload(gpu, `w${s}`, [heads[s]! * width, I], v)), bs.map((v, s) => upload(gpu, `b${s}`, [heads[s]! * width], v))];
      const made: Uint32Array[][] = [];
      for (const form of ['three', 'one'] as const) {
        const store = new OperandStore(gpu, tile, SCALES.length, [{ bytes: packedBytes(M + 3, Math.max(I, H * width), tile), count: 2 }], false);
        store.scales.write(Float32Array.from(SCALES));
        w.forEach((value, s) => store.add(value, undefined, { weight: 1 + 3 * s, input: INPUT, gradient: 2 + 3 * s }));
        const sides = heads.map((n, s): Side => {
          const into = new Tensor(gpu, 'into', [headBytes(M + 3, n, width, tile) / 4], 'u32');
          into.write(new Uint32Array(into.elements).fill(0xdeadbeef));
          return { w: store.weight(w[s]!)!, y: output(gpu, `y${s}`, [rows, n * width]), into, slot: 3 + 3 * s, bias: bias ? b[s] : undefined, turn: table && s < 2 ? { table, position, C: width, first } : undefined };
        }) as [Side, Side, Side];
        await runOnce(gpu, (p) => {
          store.pack(p, w);
          p.mixed(store, () => {
            if (form === 'one') t.ok(matrixQkv(p, x, sides));
            else for (const side of sides) matrixRows(p, { x, ...side }, side.slot, side);
          });
          t.equal(p.length, 3 + 1 + (form === 'one' ? 1 : 3), 'the weights and x are packed; the products');
        }, { M });
        made.push(await Promise.all(sides.map(({ into }) => debugReadU32(into))));
        store.destroy();
      }
      t.same(made[1], made[0], 'the same bits, and nothing else written');
      const [O, stride] = [G * width, padded(G * width, tile) / 8];
      const words = Uint32Array.from({ length: M * (O / 2) }, (_, i) => made[1]![2]![Math.floor(i / (O / 2)) * stride * 4 + (i % (O / 2))]!);
      const values = decode16(new Uint16Array(words.buffer), 'F16').map((v) => v / SCALES[9]!);
      close(t, 'values against f64', values, twin.nt(half(xs.subarray(0, M * I), SCALES[INPUT]!), half(ws[2]!, SCALES[7]!), M, I, O).map((v, i) => v + (bias ? bs[2]![i % O]! : 0)), rounded, [M, O]);
    });
  }

  t.test('apart where a weight is frozen in fewer bits, biases or widths differ, a tile cuts heads that turn, the adapter binds fewer buffers, or the path is off', async (t) => {
    const [M, I] = [5, 16];
    const refused = async (change: (sides: [Side, Side, Side]) => void, o: { storageBuffers?: number; off?: boolean } = {}): Promise<boolean> => {
      const store = new OperandStore(gpu, found, 10, [{ bytes: packedBytes(M, 4 * C, found), count: 2 }], false);
      const sides = [2, 1, 1].map((n, s): Side => {
        const w = output(gpu, 'w', [n * C, I]);
        return { w: store.add(w, undefined, { weight: 1 + 3 * s, input: INPUT, gradient: 2 + 3 * s }), y: output(gpu, 'y', [M, n * C]), into: new Tensor(gpu, 'into', [headBytes(M, n, C, found) / 4], 'u32'), slot: 3 + 3 * s, bias: undefined, turn: undefined };
      }) as [Side, Side, Side];
      change(sides);
      const { storageBuffers } = gpu.limits;
      gpu.limits.storageBuffers = o.storageBuffers ?? storageBuffers;
      if (o.off) gpu.without.add('product_qkv');
      let made = false;
      await runOnce(gpu, (p) => p.mixed(store, () => {
        made = matrixQkv(p, output(gpu, 'x', [M, I]), sides);
        t.equal(p.length > 0, made, 'recorded or nothing');
      }));
      gpu.without.delete('product_qkv');
      gpu.limits.storageBuffers = storageBuffers;
      store.destroy();
      return !made;
    };
    const bias = output(gpu, 'b', [2 * C]);
    const turn = { table: output(gpu, 'table', [4, 8]), position: new Tensor(gpu, 'at', [M], 'u32'), C: 3 * C };
    t.same([
      await refused(() => undefined), await refused((s) => (s[1].w = { ...s[1].w, packed: new PackedTensor(gpu, 'w', [C, I], 'bf16') })), await refused((s) => (s[0].bias = bias)), await refused((s) => (s[2] = { ...s[0] })), await refused((s) => ([s[0].turn, s[1].turn] = [turn, turn])),
      await refused(() => undefined, { storageBuffers: 7 }), await refused(() => undefined, { storageBuffers: 8 }), await refused(() => undefined, { off: true }),
    ], [false, true, true, true, true, true, false, true]);
  });
}

t.test('every form is valid WGSL for the tiles of a GPU; the null backend binds 8 buffers, so no pipeline is made', async (t) => {
  const none = await nullGpu();
  for (const [MM, MN, MK] of [[16, 16, 16], [16, 8, 16], [8, 8, 8]] as const) {
    const tile = tileFor({ MM, MN, MK, SG: 32 }, { ...none.limits, workgroupBytes: 48 << 10 });
    for (const kernel of Object.values(qkvKernels)) {
      const { messages } = await none.device.createShaderModule({ code: kernelSource(none, kernel, matrixTune(kernel, tile)) }).getCompilationInfo();
      t.same(messages.map((m) => m.message), [], `${kernel.name} ${MM}x${MN}x${MK}`);
    }
  }
  t.same(Object.values(qkvKernels).map((k) => k.bindings.length), [8, 11, 10, 13]);
  none.close();
});
