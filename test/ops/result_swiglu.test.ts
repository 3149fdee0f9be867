import t from 'tap';
import { compileKernel, kernelSource } from '../../src/gpu/kernel.js';
import { matrixTile, sharedBytes, tileFor, type MatrixTile } from '../../src/gpu/matrices.js';
import { OperandStore } from '../../src/gpu/operand_store.js';
import { matmulNN, matmulNT, matmulTN } from '../../src/gpu/ops/matmul.js';
import type { Frozen } from '../../src/gpu/ops/matmul_matrix_kernels.js';
import { packedBytes, padded } from '../../src/gpu/ops/operand_layout.js';
import { heldOperand } from '../../src/gpu/ops/pack_f16.js';
import { matrixSwiglu, matrixSwigluBackward, swigluBackwards, swigluForward, swigluInProduct, swigluTune } from '../../src/gpu/ops/result_swiglu.js';
import { seqSum } from '../../src/gpu/ops/seq_sum.js';
import { swigluBackwardOperands, swigluOperand, type Gate } from '../../src/gpu/ops/swiglu.js';
import { debugReadU32 } from '../../src/gpu/readback.js';
import { Dyn, type Tensor } from '../../src/gpu/tensor.js';
import { decode16 } from '../../src/model/files/float_formats.js';
import { close, type Tolerance } from '../helpers/close.js';
import { nullGpu, output, read, runOnce, testGpu, upload } from '../helpers/gpu.js';
import { half } from '../helpers/operand_store.js';
import { normals } from '../helpers/rng.js';
import * as matmul from '../reference/matmul.js';
import { geglu, gegluBackward, swiglu, swigluBackward } from '../reference/small_ops.js';

/*
 * Gate and up as one product with SwiGLU behind it, and the product of its gradient with SwiGLU's backward pass behind that: the bits of products in f32 with passes of their own,
 * and near the same in f64.
 */
const gpu = await testGpu();
const found = matrixTile(gpu);
/** Slots: the gate's weight, input and gradient, then up's, then down's; up reads the gate's input. */
const GATE = { weight: 0, input: 1, gradient: 2 };
const UP = { weight: 3, input: 1, gradient: 4 };
const DOWN = { weight: 5, input: 6, gradient: 7 };
const SCALES = [2, 0.25, 1024, 8, 512, 4, 0.5, 256];
/** A rounding or two to f16 beside what sums in another order differ by. */
const rounded: Tolerance = { atol: 2e-3, rtol: 2 ** -9, name: 'f16' };

const twin = (gate: Gate): { forward: typeof geglu; backward: typeof gegluBackward } => (gate === 'silu' ? { forward: swiglu, backward: swigluBackward } : { forward: (g, u) => geglu(g, u, gate), backward: (g, u, d) => gegluBackward(g, u, d, gate) });
const words = async (x: Tensor): Promise<number[]> => [...(await debugReadU32(x))];
const SHAPES: Array<[number, number, number, number, Gate, 'found' | 'larger' | 'narrow' | 'wide']> = [
  [1, 3, 4, 5, 'silu', 'found'], [37, 20, 36, 20, 'gelu_tanh', 'found'], [67, 33, 172, 20, 'silu', 'larger'], [40, 64, 64, 33, 'gelu', 'larger'], [70, 36, 100, 24, 'silu', 'narrow'], [33, 12, 60, 12, 'gelu_tanh', 'wide'],
];

if (typeof found === 'string') {
  t.pass(`no matrices here: ${found}`);
} else {
  const tiles: Record<string, MatrixTile> = {
    found, larger: { ...found, BM: 2 * found.MM, BN: 4 * found.MN, BK: 4 * found.MK, WM: 2, WN: 2 },
    narrow: { ...found, BM: 4 * found.MM, BN: 8 * found.MN, BK: found.MK, WM: 2, WN: 2 }, wide: { ...found, BM: 2 * found.MM, BN: 8 * found.MN, BK: 4 * found.MK, WM: 1, WN: 4 },
  };
  for (const [M, I, F, D, gate, name] of SHAPES) {
    const tile = tiles[name]!;
    const title = `${gate}: M=${M} I=${I} F=${F} D=${D} in tiles of ${tile.BM} x ${tile.BN} x ${tile.BK}`;
    const rows = new Dyn('M', M + 3);
    const store = (wide: number): OperandStore => {
      const s = new OperandStore(gpu, tile, SCALES.length, [{ bytes: packedBytes(M + 3, Math.max(I, F, D), tile), count: wide }], true);
      s.scales.write(Float32Array.from(SCALES));
      s.lossScale!.write(Float32Array.of(4096, 0, 0, 0));
      return s;
    };
    /** What an operand of F columns holds in its rows and columns, and whether all else is zero. */
    const unpacked = async (packed: Tensor, scale: number): Promise<{ values: Float32Array; rest: boolean }> => {
      const all = decode16(new Uint16Array(Uint32Array.from(await words(packed)).buffer), 'F16');
      const [W, block, pad] = [padded(F, tile), Math.min(16, tile.BM, tile.BN, tile.BK), padded(M, tile)];
      const values = new Float32Array(M * F);
      let rest = true;
      for (let r = 0; r < pad; r++) for (let c = 0; c < W; c++) {
        const v = all[(Math.floor(r / 8) * (W / block) + Math.floor(c / block)) * 8 * block + ((r % 2) * 4 + Math.floor((r % 8) / 2)) * block + (c % block)]!;
        if (r < M && c < F) values[r * F + c] = v / scale;
        else rest &&= v === 0;
      }
      return { values, rest };
    };
    const [xs, gs, us] = [normals(M, (M + 3) * I), normals(I, F * I, 0.5), normals(F, F * I, 0.5)];

    t.test(`forward, ${title}`, async (t) => {
      t.ok(swigluInProduct(tile, F));
      const made: number[][] = [];
      for (const form of ['in passes', 'kept', 'alone'] as const) {
        const s = store(2);
        const [wg, wu, wd] = [upload(gpu, 'wg', [F, I], gs), upload(gpu, 'wu', [F, I], us), upload(gpu, 'wd', [D, F], normals(D, D * F))];
        for (const [w, slots] of [[wg, GATE], [wu, UP], [wd, DOWN]] as const) s.add(w, undefined, slots);
        const x = upload(gpu, 'x', [rows, I], xs);
        const [g, u, h, y] = [output(gpu, 'gate', [rows, F], NaN), output(gpu, 'up', [rows, F], NaN), output(gpu, 'h', [rows, F], NaN), output(gpu, 'y', [rows, D])];
        let packed: Tensor | undefined;
        await runOnce(gpu, (p) => {
          s.pack(p, [wg, wu, wd]);
          p.mixed(s, () => {
            if (form === 'in passes') {
              matmulNT(p, { x, w: wg, y: g });
              matmulNT(p, { x, w: wu, y: u });
              swigluOperand(p, { gate: g, up: u, h }, DOWN.input, gate);
            } else {
              matrixSwiglu(p, { x, gate: g, up: u, h }, { gate: s.weight(wg)!, up: s.weight(wu)! }, DOWN.input, { gate, keep: form === 'kept' });
              t.equal(p.length, 5, 'three weights and x are packed; one product');
              packed = heldOperand(p, h, DOWN.input, {})!.packed;
              t.throws(() => seqSum(p, { stats: h, seqStart: upload(gpu, 's', [2], new Uint32Array(2)), seqStats: output(gpu, 'q', [1, F]) }), /was made as a packed operand alone/, 'no f32 form to read');
            }
            matmulNT(p, { x: h, w: wd, y });
          });
        }, { M });
        made.push([...(await words(y)), ...(form === 'alone' ? made[0]!.slice((M + 3) * D) : [...(await words(g)), ...(await words(u))])]);
        t.ok((await read(h)).every(Number.isNaN), 'h itself is not written');
        if (form === 'alone') {
          t.ok((await read(g)).every(Number.isNaN), 'gate is not written');
          const { values, rest } = await unpacked(packed!, SCALES[DOWN.input]!);
          t.ok(rest, 'zero up to the tiles’ edges');
          const [x16, g16, u16] = [half(xs.subarray(0, M * I), SCALES[1]!), half(gs, SCALES[0]!), half(us, SCALES[3]!)];
          close(t, 'against f64', values, twin(gate).forward(matmul.nt(x16, g16, M, I, F), matmul.nt(x16, u16, M, I, F)), rounded, [M, F]);
        }
        s.destroy();
      }
      t.same(made[1], made[0], 'the same bits, kept');
      t.same(made[2], made[0], 'the same bits, alone');
    });

    t.test(`backward, ${title}`, async (t) => {
      const [gate32, up32, dys, ws] = [normals(M, (M + 3) * F, 2), normals(M + 1, (M + 3) * F), normals(M + 2, (M + 3) * D, 1e-3), normals(D, D * F)];
      for (const measureScales of [0, 1]) {
        const made: number[][] = [];
        for (const form of ['in passes', 'act made again', 'gradients alone'] as const) {
          const s = store(5);
          const [wg, wu, wd] = [upload(gpu, 'wg', [F, I], gs), upload(gpu, 'wu', [F, I], us), upload(gpu, 'wd', [D, F], ws)];
          const [dwg, dwu, dwd] = [output(gpu, 'dwg', [F, I]), output(gpu, 'dwu', [F, I]), output(gpu, 'dwd', [D, F])];
          for (const [w, dw, slots] of [[wg, dwg, GATE], [wu, dwu, UP], [wd, dwd, DOWN]] as const) s.add(w, dw, slots);
          const [x, g, u, dy] = [upload(gpu, 'x', [rows, I], xs), upload(gpu, 'g', [rows, F], gate32), upload(gpu, 'u', [rows, F], up32), upload(gpu, 'dy', [rows, D], dys)];
          const [h, dh, dgate, dup, dx] = [output(gpu, 'h', [rows, F], NaN), output(gpu, 'dh', [rows, F], NaN), output(gpu, 'dgate', [rows, F], NaN), output(gpu, 'dup', [rows, F], NaN), output(gpu, 'dx', [rows, I])];
          await runOnce(gpu, (p) => {
            s.pack(p, [wg, wu, wd]);
            p.mixed(s, () => {
              if (form === 'in passes') {
                swigluOperand(p, { gate: g, up: u, h }, DOWN.input, gate);
                matmulNN(p, { x: dy, w: wd, y: dh });
                matmulTN(p, { a: dy, b: h, y: dwd });
                swigluBackwardOperands(p, { gate: g, up: u, dh, dgate, dup }, { gate: GATE.gradient, up: UP.gradient }, gate);
              } else {
                matrixSwigluBackward(p, { dy, gate: g, up: u, dgate, dup, h: form === 'act made again' ? h : undefined }, s.weight(wd)!, { gate: GATE.gradient, up: UP.gradient }, gate);
                if (form === 'act made again') matmulTN(p, { a: dy, b: h, y: dwd });
              }
              matmulNN(p, { x: dgate, w: wg, y: dx });
              matmulTN(p, { a: dgate, b: x, y: dwg });
              matmulNN(p, { x: dup, w: wu, y: dx }, { accumulate: true });
              matmulTN(p, { a: dup, b: x, y: dwu });
            });
          }, { M, measureScales });
          made.push([...(await words(s.peaks!)), ...(await words(s.scales)), ...(await words(dx)), ...(await words(dwg)), ...(await words(dwu)), ...(form === 'gradients alone' ? [] : await words(dwd))]);
          t.ok([...(await read(dgate)), ...(await read(dup)), ...(form === 'in passes' ? [] : await read(dh))].every(Number.isNaN), 'none is written in f32');
          if (form === 'in passes') {
            const peaks = new Float32Array(Uint32Array.from(await words(s.peaks!)).buffer);
            t.ok(peaks[GATE.gradient]! > 0 && peaks[UP.gradient]! > 0, 'magnitudes are watched');
          }
          if (form === 'act made again' && measureScales === 0) {
            const dh64 = matmul.nn(half(dys.subarray(0, M * D), SCALES[DOWN.gradient]!), half(ws, SCALES[DOWN.weight]!), M, D, F);
            const want = twin(gate).backward(gate32.subarray(0, M * F), up32.subarray(0, M * F), dh64);
            const ofUp = matmul.nn(want.dup, half(us, SCALES[3]!), M, F, I);
            const dx64 = matmul.nn(want.dgate, half(gs, SCALES[0]!), M, F, I).map((v, i) => v + ofUp[i]!);
            const most = dx64.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
            close(t, 'dx against f64', (await read(dx)).subarray(0, M * I), dx64, { atol: most * 2 ** -9, rtol: 2 ** -8, name: 'f16 sums' }, [M, I]);
          }
          s.destroy();
        }
        t.same(made[1], made[0], `the same bits, measured ${measureScales}`);
        t.same(made[2], made[0]!.slice(0, made[2]!.length), 'without act too');
      }
    });
  }

  t.test('where half a tile has no whole fours, products stay apart', async (t) => {
    t.same([swigluInProduct(found, 8), swigluInProduct(found, 6), swigluInProduct({ ...found, BN: 12 }, 8)], [true, false, false]);
  });
}

t.test('both compile for the tiles of a GPU, up to its workgroup memory', async (t) => {
  const none = await nullGpu();
  const frozen = [undefined, { format: 'nf4_double', by: 8 }, { format: 'int8', by: 1 }] as Frozen[];
  for (const [MM, MN, MK] of [[16, 16, 16], [16, 8, 16], [8, 8, 8]] as const) {
    const tile = tileFor({ MM, MN, MK, SG: 32 }, none.limits);
    for (const kernel of [...Object.values(swigluForward), ...frozen.flatMap((of) => Object.values(swigluBackwards(of)))]) {
      // The null backend binds 8 buffers, adapters with matrices 10.
      const { messages } = await none.device.createShaderModule({ code: kernelSource(none, kernel, swigluTune(kernel, tile)) }).getCompilationInfo();
      t.same(messages.filter((x) => x.type === 'error').map((x) => `${x.lineNum}: ${x.message}`), [], `${kernel.name} ${MM}x${MN}x${MK}`);
      if (kernel.bindings.length <= none.limits.storageBuffers) await t.resolves(compileKernel(none, kernel, swigluTune(kernel, tile)).pipeline);
    }
    t.ok(sharedBytes(tile) <= none.limits.workgroupBytes);
  }
  none.close();
});
