import t, { type Test } from 'tap';
import { matrixTile } from '../../src/gpu/matrices.js';
import { OperandStore } from '../../src/gpu/operand_store.js';
import { matmulNT, matmulTN } from '../../src/gpu/ops/matmul.js';
import { packedBytes } from '../../src/gpu/ops/pack_f16.js';
import { seqSum } from '../../src/gpu/ops/seq_sum.js';
import { swiglu, swigluOperand, type Gate } from '../../src/gpu/ops/swiglu.js';
import type { Program } from '../../src/gpu/program.js';
import { debugReadU32 } from '../../src/gpu/readback.js';
import { Dyn, type Tensor } from '../../src/gpu/tensor.js';
import { output, runOnce, testGpu, upload } from '../helpers/gpu.js';
import { normals } from '../helpers/rng.js';

/*
 * Kernels that write the f16 operand of a product in place of their f32 result: the product's bits are those it has from the f32 result packed, with rows past N
 * and columns up to the tile's edge as they are then.
 */
const gpu = await testGpu();
const tile = matrixTile(gpu);
const SLOTS = { weight: 0, input: 1, gradient: 2 };

/** A weight [O, I] in a store of its own, with operands for rows of x and dy. */
function weight(rows: number, O: number, I: number): { w: Tensor; dw: Tensor; store: OperandStore } {
  if (typeof tile === 'string') throw new Error(tile);
  const [w, dw] = [upload(gpu, 'w', [O, I], normals(O * 31 + I, O * I)), output(gpu, 'dw', [O, I])];
  const store = new OperandStore(gpu, tile, 3, [{ bytes: packedBytes(rows, Math.max(O, I), tile), count: 3 }], true);
  store.scales.write(Float32Array.of(2, 0.25, 1024));
  store.lossScale!.write(Float32Array.of(4096, 0, 0, 0));
  store.add(w, dw, SLOTS);
  return { w, dw, store };
}

const bitsOf = async (...tensors: Tensor[]): Promise<number[]> => (await Promise.all(tensors.map(debugReadU32))).flatMap((x) => [...x]);

/** x·Wᵀ and dyᵀ·x of an input x [rows, I] that `make` records: from its f32 form, then from the operand alone. */
async function asInput(t: Test, N: number, I: number, make: { f32: (p: Program, x: Tensor) => void; operand: (p: Program, x: Tensor, slot: number) => void }): Promise<void> {
  const [rows, O] = [new Dyn('N', N + 3), 20];
  const both: number[][] = [];
  for (const form of ['f32', 'operand'] as const) {
    const { w, dw, store } = weight(N + 3, O, I);
    const [x, y, dy] = [output(gpu, 'x', [rows, I], NaN), output(gpu, 'y', [rows, O]), upload(gpu, 'dy', [rows, O], normals(3, (N + 3) * O))];
    await runOnce(gpu, (p) => {
      store.pack(p, [w]);
      p.mixed(store, () => {
        if (form === 'f32') make.f32(p, x);
        else {
          make.operand(p, x, SLOTS.input);
          t.throws(() => seqSum(p, { stats: x, seqStart: upload(gpu, 's', [2], new Uint32Array(2)), seqStats: output(gpu, 'q', [1, I]) }), /was made as a packed operand alone/, 'no f32 form to read');
        }
        matmulNT(p, { x, w, y });
        matmulTN(p, { a: dy, b: x, y: dw });
      });
    }, { N, measureScales: 0 });
    both.push(await bitsOf(y, dw));
    t.ok((await bitsOf(x)).every((v) => v !== 0) || form === 'f32', 'x itself is not written');
    store.destroy();
  }
  t.same(both[1], both[0], `N=${N} I=${I}`);
  t.ok(both[0]!.some((v) => v !== 0));
}

if (typeof tile === 'string') {
  t.pass(`no matrices here: ${tile}`);
} else {
  for (const gate of ['silu', 'gelu_tanh', 'gelu'] as Gate[]) {
    t.test(`swiglu (${gate}) into an operand`, async (t) => {
      for (const [N, F] of [[1, 4], [5, 36], [67, 172]] as const) {
        const rows = new Dyn('N', N + 3);
        const [gateT, up] = [upload(gpu, 'gate', [rows, F], normals(N, (N + 3) * F, 3)), upload(gpu, 'up', [rows, F], normals(N + 1, (N + 3) * F))];
        await asInput(t, N, F, {
          f32: (p, h) => swiglu(p, { gate: gateT, up, h }, gate),
          operand: (p, h, slot) => swigluOperand(p, { gate: gateT, up, h }, slot, gate),
        });
      }
    });
  }
}
