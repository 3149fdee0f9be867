import t, { type Test } from 'tap';
import { matrixTile } from '../../src/gpu/matrices.js';
import { OperandStore } from '../../src/gpu/operand_store.js';
import { adamw } from '../../src/gpu/ops/adamw.js';
import { matmulNN, matmulNT, matmulTN } from '../../src/gpu/ops/matmul.js';
import { Head } from '../../src/gpu/ops/head.js';
import { keptArgs } from '../../src/gpu/ops/kept_tiles.js';
import { headGrad } from '../../src/gpu/ops/head_kernels.js';
import { packedBytes, padOf } from '../../src/gpu/ops/operand_layout.js';
import { layerNorm, layerNormOperand } from '../../src/gpu/ops/layer_norm.js';
import { seqSum } from '../../src/gpu/ops/seq_sum.js';
import { rmsNorm, rmsNormBackward, rmsNormBackwardOperand, rmsNormNext, rmsNormOperand } from '../../src/gpu/ops/rms_norm.js';
import { softCap } from '../../src/gpu/ops/soft_cap.js';
import { swiglu, swigluBackward, swigluBackwardOperands, swigluOperand, type Gate } from '../../src/gpu/ops/swiglu.js';
import { GAIN_ROWS } from '../../src/gpu/ops/column_sums.js';
import type { FusedPath } from '../../src/gpu/paths.js';
import type { Program } from '../../src/gpu/program.js';
import { debugReadU32 } from '../../src/gpu/readback.js';
import { Dyn, type Tensor } from '../../src/gpu/tensor.js';
import { output, read, runOnce, testGpu, upload } from '../helpers/gpu.js';
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

const bitsOf = async (...tensors: Tensor[]): Promise<number[]> => (await Promise.all(tensors.map((x) => debugReadU32(x)))).flatMap((x) => [...x]);

/** The same words, told by the first that differs: lists of them are long. */
function sameBits(t: Test, got: number[], want: number[], name: string): void {
  const at = want.findIndex((v, i) => v !== got[i]);
  t.ok(at < 0 && got.length === want.length, `${name}: ${want.length} words${at < 0 ? '' : `; word ${at} is ${got[at]}, expected ${want[at]}`}`);
}

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
  sameBits(t, both[1]!, both[0]!, `N=${N} I=${I}`);
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

    t.test(`swiglu backward (${gate}) into two operands, scales measured and not`, async (t) => {
      for (const [N, F, measureScales] of [[1, 4, 0], [5, 36, 1], [67, 172, 0], [40, 64, 1], [9, 1028, 1]] as const) {
        const [rows, D] = [new Dyn('N', N + 3), 20];
        const data = [normals(N, (N + 3) * F, 3), normals(N + 1, (N + 3) * F), normals(N + 2, (N + 3) * F, 1e-3)].map((x, i) => upload(gpu, `t${i}`, [rows, F], x)) as [Tensor, Tensor, Tensor];
        const both: number[][] = [];
        for (const form of ['f32', 'operands'] as const) {
          const store = new OperandStore(gpu, tile, 6, [{ bytes: packedBytes(N + 3, Math.max(F, D), tile), count: 3 }], true);
          store.scales.write(Float32Array.of(2, 0.25, 1024, 4, 0.25, 512));
          store.lossScale!.write(Float32Array.of(4096, 0, 0, 0));
          const [wg, wu] = [1, 2].map((i) => upload(gpu, 'w', [F, D], normals(i, F * D))) as [Tensor, Tensor];
          const [dwg, dwu, dx] = [output(gpu, 'dw', [F, D]), output(gpu, 'dw', [F, D]), output(gpu, 'dx', [rows, D])];
          store.add(wg, dwg, { weight: 0, input: 1, gradient: 2 });
          store.add(wu, dwu, { weight: 3, input: 4, gradient: 5 });
          const [dgate, dup, x] = [output(gpu, 'dgate', [rows, F], NaN), output(gpu, 'dup', [rows, F], NaN), upload(gpu, 'x', [rows, D], normals(9, (N + 3) * D))];
          const back = { gate: data[0], up: data[1], dh: data[2], dgate, dup };
          await runOnce(gpu, (p) => {
            store.pack(p, [wg, wu]);
            p.mixed(store, () => {
              if (form === 'f32') swigluBackward(p, back, gate);
              else swigluBackwardOperands(p, back, { gate: 2, up: 5 }, gate);
              matmulNN(p, { x: dgate, w: wg, y: dx });
              matmulTN(p, { a: dgate, b: x, y: dwg });
              matmulNN(p, { x: dup, w: wu, y: dx }, { accumulate: true });
              matmulTN(p, { a: dup, b: x, y: dwu });
            });
          }, { N, measureScales });
          both.push(await bitsOf(dx, dwg, dwu, store.peaks!, store.scales));
          if (form === 'f32') {
            const most = async (x: Tensor): Promise<number> => (await read(x)).subarray(0, N * F).reduce((m, v) => Math.max(m, Math.abs(v)), 0);
            const peaks = new Float32Array(Uint32Array.from(await bitsOf(store.peaks!)).buffer);
            t.same([peaks[2], peaks[5]], [await most(dgate), await most(dup)], 'the largest magnitudes of all rows');
          }
          store.destroy();
        }
        sameBits(t, both[1]!, both[0]!, `N=${N} F=${F}`);
      }
    });
  }

  t.test('rms_norm into an operand; its rstd too', async (t) => {
    for (const [N, D] of [[1, 4], [5, 36], [67, 172]] as const) {
      const rows = new Dyn('N', N + 3);
      const [x, gain] = [upload(gpu, 'x', [rows, D], normals(N, (N + 3) * D, 3)), upload(gpu, 'gain', [D], normals(N + 1, D))];
      const rstds = [output(gpu, 'rstd', [rows], 7), output(gpu, 'rstd', [rows], 7)] as const;
      await asInput(t, N, D, {
        f32: (p, y) => rmsNorm(p, { x, gain, y, rstd: rstds[0] }, 1e-6, 1),
        operand: (p, y, slot) => rmsNormOperand(p, { x, gain, y, rstd: rstds[1] }, slot, 1e-6, 1),
      });
      sameBits(t, await bitsOf(rstds[1]), await bitsOf(rstds[0]), 'rstd');
    }
  });

  t.test('a norm and the norm of its sum, the second into an operand', async (t) => {
    for (const [N, D] of [[1, 4], [5, 36], [67, 172]] as const) {
      const rows = new Dyn('N', N + 3);
      const [x, add, gain, gainNext] = [upload(gpu, 'x', [rows, D], normals(N, (N + 3) * D, 3)), upload(gpu, 'add', [rows, D], normals(N + 1, (N + 3) * D)), upload(gpu, 'gain', [D], normals(N + 2, D)), upload(gpu, 'next', [D], normals(N + 3, D))];
      const kept = [0, 1].map(() => ({ y: output(gpu, 'y', [rows, D], 7), rstd: output(gpu, 'rstd', [rows], 7), rstdNext: output(gpu, 'rstd', [rows], 7) }));
      const record = (i: number, slot?: number) => (p: Program, h: Tensor): void => rmsNormNext(p, { x, gain, add, gainNext, h, ...kept[i]! }, slot, 1e-6);
      await asInput(t, N, D, { f32: record(0), operand: (p, h, slot) => record(1, slot)(p, h) });
      sameBits(t, await bitsOf(...Object.values(kept[1]!)), await bitsOf(...Object.values(kept[0]!)), 'the sum and both rstds');
    }
  });

  t.test('a norm’s backward pass into an operand, scales measured and not, the gain’s gradient as it goes and apart', async (t) => {
    for (const without of [[], ['norm_gain']] as FusedPath[][]) for (const [N, O, measureScales] of [[1, 4, 0], [5, 36, 1], [67, 172, 0], [9, 1028, 1]] as const) {
      gpu.without = new Set(without);
      const [rows, I] = [new Dyn('N', N + 3), 20];
      const [x, dy] = [upload(gpu, 'x', [rows, O], normals(N, (N + 3) * O, 3)), upload(gpu, 'dy', [rows, O], normals(N + 1, (N + 3) * O, 1e-3))];
      const [gain, rstd] = [upload(gpu, 'gain', [O], normals(N + 2, O)), upload(gpu, 'rstd', [rows], normals(N + 3, N + 3).map(Math.abs))];
      const both: number[][] = [];
      for (const form of ['f32', 'operand'] as const) {
        const { w, dw, store } = weight(N + 3, O, I);
        const [dx, out, dgain, input] = [output(gpu, 'dx', [rows, O], NaN), output(gpu, 'out', [rows, I]), output(gpu, 'dgain', [O]), upload(gpu, 'input', [rows, I], normals(9, (N + 3) * I))];
        const t = { x, gain, rstd, dy, dx, dgain, partial: output(gpu, 'partial', [Math.ceil((N + 3) / GAIN_ROWS), O]) };
        await runOnce(gpu, (p) => {
          store.pack(p, [w]);
          p.mixed(store, () => {
            if (form === 'f32') rmsNormBackward(p, t, 1, 'write');
            else rmsNormBackwardOperand(p, t, SLOTS.gradient, 1);
            matmulNN(p, { x: dx, w, y: out });
            matmulTN(p, { a: dx, b: input, y: dw });
          });
        }, { N, measureScales });
        both.push(await bitsOf(out, dw, dgain, store.peaks!, store.scales));
        store.destroy();
      }
      gpu.without = new Set();
      sameBits(t, both[1]!, both[0]!, `N=${N} O=${O}`);
      t.ok(both[0]!.some((v) => v !== 0));
    }
  });

  t.test('layer_norm into an operand; what it keeps too', async (t) => {
    for (const [N, D] of [[1, 4], [5, 36], [67, 172]] as const) {
      const rows = new Dyn('N', N + 3);
      const [x, gain, bias] = [upload(gpu, 'x', [rows, D], normals(N, (N + 3) * D, 3)), upload(gpu, 'gain', [D], normals(N + 1, D)), upload(gpu, 'bias', [D], normals(N + 2, D))];
      const [plain, packed] = [0, 1].map(() => ({ mean: output(gpu, 'mean', [rows], 7), rstd: output(gpu, 'rstd', [rows], 7) })) as [Record<'mean' | 'rstd', Tensor>, Record<'mean' | 'rstd', Tensor>];
      await asInput(t, N, D, {
        f32: (p, y) => layerNorm(p, { x, gain, bias, y }, 1e-5, plain),
        operand: (p, y, slot) => layerNormOperand(p, { x, gain, bias, y, ...packed }, slot, 1e-5),
      });
      sameBits(t, await bitsOf(packed.mean, packed.rstd), await bitsOf(plain.mean, plain.rstd), 'mean and rstd');
    }
  });

  t.test('AdamW writes a matrix’s f16 copy as packing its new values would, once; a skipped step leaves it', async (t) => {
    for (const [O, I] of [[1, 4], [37, 44], [130, 64]] as const) {
      const skips = [0, 1, 0];
      const runs: number[][][] = [];
      for (const form of ['in a pass of its own', 'with the update'] as const) {
        const { w, store } = weight(8, O, I);
        const [grad, m, v] = [upload(gpu, 'g', [O, I], normals(3, O * I)), output(gpu, 'm', [O, I]), output(gpu, 'v', [O, I])];
        await runOnce(gpu, (p) => store.pack(p, [w]));
        const found: number[][] = [];
        for (const skip of skips) {
          const stepState = upload(gpu, 'state', [16], Float32Array.of(1, 0.7, skip, 1, 0.1, 0.001, ...new Array<number>(10).fill(0)));
          await runOnce(gpu, (p) => {
            const update = (): void => adamw(p, { value: w, grad, m, v, stepState }, { lr: 0.01, beta1: 0.9, beta2: 0.999, oneMinusBeta1: 0.1, oneMinusBeta2: 0.001, epsilon: 1e-8, weightDecay: 0.1 });
            if (form === 'with the update') p.mixed(store, () => (update(), store.pack(p, [w])));
            else (update(), store.pack(p, [w]));
            t.equal(p.length, form === 'with the update' ? 1 : 2);
          });
          found.push(await bitsOf(w, m, v, store.weight(w)!.packed));
        }
        sameBits(t, found[1]!, found[0]!, 'skipped: weights, moments and copy as they were');
        t.ok(found[2]!.some((v, i) => v !== found[1]![i]));
        runs.push(found);
        store.destroy();
      }
      sameBits(t, runs[1]!.flat(), runs[0]!.flat(), `${O} x ${I}`);
    }
  });

  // Ranges of a vocabulary begin where tiles do: a GPU's are wider.
  const unit = Math.max(64, padOf(tile));
  for (const [V, width, weighted, tiles] of [[40, 40, false, 'recomputed'], [2 * unit + 24, unit, true, 'recomputed'], [2 * unit + 22, unit, false, 'recomputed'], [2 * unit + 24, unit, true, 'kept'], [2 * unit + 22, unit, false, 'kept']] as const) {
    t.test(`the head’s gradient into operands, V=${V} in tiles of ${width}${weighted ? ', weighted' : ''}, ${tiles}`, async (t) => {
      for (const measureScales of [0, 1]) {
        const [S, D, Q] = [21, 24, 3];
        const rows = new Dyn('S', S + 2);
        const results: number[][] = [];
        for (const form of ['f32', 'operands'] as const) {
          const { w, dw, store } = weight(S + 2, V, D);
          const head = new Head({ gpu, S: rows, D, V, mode: 'none', pieces: [w], dPieces: [dw], rounded: false, bf16: false, tile: 8, width, tiles, softCap: 3, terms: weighted ? { weighted, square: false, refEntropy: false } : undefined });
          const [hidden, labels] = [upload(gpu, 'h', [rows, D], normals(1, (S + 2) * D)), upload(gpu, 'labels', [rows], Uint32Array.from({ length: S + 2 }, (_, s) => (s * 17) % V))];
          const [coef, seqOf, dHidden] = [upload(gpu, 'coef', [Q, 2], normals(4, 2 * Q)), upload(gpu, 'seq_of', [rows], Uint32Array.from({ length: S + 2 }, (_, s) => s % Q)), output(gpu, 'dh', [rows, D])];
          const tokenWeights = weighted ? upload(gpu, 'tw', [rows, 2], normals(5, 2 * (S + 2))) : undefined;
          let labelsOf: string[] = [];
          await runOnce(gpu, (p) => {
            store.pack(p, [w]);
            p.mixed(store, () => {
              head.forward(p, { hidden, labels, tokenWeights });
              if (form === 'operands') return head.backward(p, { hidden, labels, coef, seqOf, dHidden, tokenWeights });
              const [tileT, state] = [head['tile'], head['state']];
              for (let v0 = 0; v0 < V; v0 += width) {
                const [first, count] = [v0, Math.min(width, V - v0)];
                const kept = tiles === 'kept' ? head['ranges'][v0 / width]!.kept! : undefined;
                if (width < V && !kept) {
                  matmulNT(p, { x: hidden, w, y: tileT }, { first, count });
                  softCap(p, tileT, 3);
                }
                p.run(headGrad({ weighted, kept: kept !== undefined }), { state, labels, seq_of: seqOf, coef, tile: tileT, ...(kept ? { logit_kept: kept } : {}), ...(tokenWeights ? { token_weights: tokenWeights } : {}) }, { v0, count, soft_cap: 3, ...keptArgs(count) }, { tune: { FOLD: 8 } });
                matmulNN(p, { x: tileT, w, y: dHidden }, { first, count, accumulate: v0 > 0 });
                matmulTN(p, { a: tileT, b: hidden, y: dw }, { first, count });
              }
            });
            labelsOf = p.dispatches({ S, measureScales }).map((d) => d.label);
          }, { S, measureScales });
          const count = Math.ceil(V / width);
          const written = labelsOf.filter((l) => l.startsWith('head_grad.bwd_f16')).length;
          // A last tile of no whole fours has its gradient packed from f32.
          t.equal(written, form === 'f32' ? 0 : (count - (V % 4 === 0 ? 0 : 1)) * (1 + measureScales));
          results.push(await bitsOf(dHidden, dw, store.peaks!, store.scales));
          store.destroy();
        }
        sameBits(t, results[1]!, results[0]!, 'the same gradients, peaks and scales');
      }
    });
  }
}
