import t from 'tap';
import { matrixTile, type MatrixTile } from '../../src/gpu/matrices.js';
import { OperandStore } from '../../src/gpu/operand_store.js';
import { ADAPTER_TOP, adapterBounds, adapterCopies, adapterExtent, adapterScales, adapterTables, copyStride, writeAdapterTables, type AdapterBound } from '../../src/gpu/ops/adapter_operands.js';
import { matmulNN, matmulNT, matmulTN } from '../../src/gpu/ops/matmul.js';
import { scale } from '../../src/gpu/ops/scale.js';
import { matrixOperand, matrixOperandGradient } from '../../src/gpu/ops/result_operand.js';
import { packedBytes } from '../../src/gpu/ops/operand_layout.js';
import { debugRead } from '../../src/gpu/readback.js';
import { Dyn, partBytes, Tensor } from '../../src/gpu/tensor.js';
import { layCopies } from '../../src/model/adapter_operands.js';
import { close, reduce } from '../helpers/close.js';
import { output, read, runOnce, testGpu, upload } from '../helpers/gpu.js';
import { half } from '../helpers/operand_store.js';
import { normals } from '../helpers/rng.js';
import * as twin from '../reference/matmul.js';

const gpu = await testGpu();
const found = matrixTile(gpu);
/** The power of two that brings a magnitude to at most ADAPTER_TOP. */
const scaleOf = (peak: number): number => (peak === 0 ? 1 : 2 ** Math.floor(Math.log2(ADAPTER_TOP / peak)));
const largest = (w: Float32Array): number => w.reduce((m, v) => Math.max(m, Math.abs(v)), 0);

/** Slots of A: its scale, what it makes, du; of B its scale; of x and dy. */
const SLOT = { a: 0, made: 1, du: 2, b: 3, x: 4, dy: 5 };

if (typeof found === 'string') {
  t.pass(`no matrices here: ${found}`);
} else {
  // A card's tile is wider than it is deep: a product reads past the copy of a small rank. One matrix is not.
  const wide = { ...found, BM: 4 * found.MM, BN: 4 * found.MN, BK: found.MK, WM: 2, WN: 2 };
  for (const [N, I, O, r, tile] of [[5, 20, 12, 1, found], [19, 33, 21, 8, found], [67, 24, 40, 16, wide], [33, 40, 27, 33, wide], [7, 9, 5, 1, wide]] as Array<[number, number, number, number, MatrixTile]>) {
    t.test(`adapters of rank ${r} on [${O}, ${I}], ${N} rows, in tiles of ${tile.BM} x ${tile.BN} x ${tile.BK}: scales, copies and all six products against the twin of the rounded operands`, async (t) => {
      const rows = new Dyn('N', N + 2);
      const seed = 10 * N + r;
      const [xs, as, bs, dys, ys] = [normals(seed, N * I), normals(seed + 1, r * I, 0.3), normals(seed + 2, O * r, 0.01), normals(seed + 3, N * O, 1e-3), normals(seed + 4, N * O)];
      const [gain, bias] = [normals(seed + 5, I).map(Math.abs), normals(seed + 6, I, 0.1).map(Math.abs)];
      // Behind one another in one buffer, with their gradients in another, as small trained tensors lie; numbers behind them that are none of theirs.
      const at = { a: 256, b: 256 + partBytes(4 * r * I) };
      const bytes = at.b + partBytes(4 * O * r) + 256;
      const [values, gradients] = [output(gpu, 'values', [bytes / 4], 1e30), output(gpu, 'gradients', [bytes / 4], 2)];
      const [a, b, da, db] = [values.part('A', [r, I], at.a), values.part('B', [O, r], at.b), gradients.part('dA', [r, I], at.a), gradients.part('dB', [O, r], at.b)];
      a.write(as);
      b.write(bs);
      const [laid] = layCopies([{ rows: r, inner: I, value: a, grad: da }, { rows: O, inner: r, value: b, grad: db }], tile, gpu.limits.bindingBytes);
      const copies = upload(gpu, 'copies', [laid!.bytes / 4], new Uint32Array(laid!.bytes / 4).fill(0x7e007e00));
      const store = new OperandStore(gpu, tile, 6, [{ bytes: packedBytes(N + 2, Math.max(I, O, r), tile), count: 4 }], true);
      store.scales.write(Float32Array.of(1, 1, 64, 1, 0.25, 1024));
      store.lossScale!.write(Float32Array.of(4096, 0, 0, 0));
      const slots = [{ weight: SLOT.a, input: SLOT.x, gradient: SLOT.du }, { weight: SLOT.b, input: SLOT.made, gradient: SLOT.dy }];
      laid!.members.forEach(({ of, offset }, i) => store.addApart(of.value, of.grad, { packed: copies.part('copy', [4 * adapterExtent(of.rows, of.inner, tile)], offset), rows: of.rows, inner: of.inner, stride: copyStride(of.inner, tile), slots: slots[i]! }));
      const list = laid!.members.map(({ of, offset }, i): AdapterBound => ({ matrix: { offset: of.value.place.offset / 4, rows: of.rows, inner: of.inner, to: offset / 16, stride: copyStride(of.inner, tile), slot: slots[i]!.weight }, bound: 2 * i, ...(i === 0 ? { made: { gain: 0, factor: 1.5 } } : {}) }));
      const tables = adapterTables((label, n) => new Tensor(gpu, label, [n], 'u32'), list, tile);
      writeAdapterTables(tables, list, tile);
      const targets = upload(gpu, 'targets', [3], Uint32Array.of(SLOT.a, SLOT.made, SLOT.b));
      const bounds = upload(gpu, 'bounds', [3], new Uint32Array(3));
      const gains = upload(gpu, 'gains', [2 * I], Float32Array.from({ length: 2 * I }, (_, i) => (i % 2 === 0 ? gain[i / 2]! : bias[(i - 1) / 2]!)));
      const nans = (data: Float32Array, length: number): Float32Array => Float32Array.from({ length }, (_, i) => data[i] ?? NaN);
      const [x, dy, y] = [upload(gpu, 'x', [rows, I], nans(xs, (N + 2) * I)), upload(gpu, 'dy', [rows, O], nans(dys, (N + 2) * O)), upload(gpu, 'y', [rows, O], nans(ys, (N + 2) * O))];
      const [u, du, dx] = [output(gpu, 'u', [rows, r], 7), output(gpu, 'du', [rows, r], 7), output(gpu, 'dx', [rows, I], 3)];
      const packs = (p: Parameters<typeof adapterScales>[0]): void => {
        adapterBounds(p, { w: values, tables, gains, bounds });
        adapterScales(p, { targets, bounds, scales: store.scales });
        adapterCopies(p, { w: values, tables, scales: store.scales, packed: copies }, tile);
      };
      await runOnce(gpu, (p) => {
        packs(p);
        p.mixed(store, () => {
          matmulNT(p, { x, w: a, y: u });
          matmulNT(p, { x: u, w: b, y }, { accumulate: true });
          matmulTN(p, { a: dy, b: u, y: db });
          matmulNN(p, { x: dy, w: b, y: du });
          matmulTN(p, { a: du, b: x, y: da });
          matmulNN(p, { x: du, w: a, y: dx }, { accumulate: true });
        });
        t.notOk(p.dispatches({ N, measureScales: 0 }).some(({ label }) => /matmul\.(?!matrix)/.test(label)), 'all in matrices');
      }, { N, measureScales: 0 });
      const made = Math.max(...Array.from({ length: r }, (_, k) => {
        const row = as.subarray(k * I, (k + 1) * I);
        return 1.5 * (Math.sqrt(I) * Math.hypot(...row.map((v, i) => v * gain[i]!)) + row.reduce((n, v, i) => n + Math.abs(v) * bias[i]!, 0));
      }));
      const scales = [...(await read(store.scales))];
      t.same(scales, [scaleOf(largest(as)), scaleOf(made), 64, scaleOf(largest(bs)), 0.25, 1024]);
      t.same([...(await debugRead(bounds))], [0, 0, 0], 'bounds are ready for the next step');
      const [xh, ah, bh, dyh] = [half(xs, 0.25), half(as, scales[0]!), half(bs, scales[3]!), half(dys, 1024)];
      const us = (await read(u)).subarray(0, N * r);
      close(t, 'u', us, twin.nt(xh, ah, N, I, r), reduce(I), [N, r]);
      const uh = half(us, scales[1]!);
      close(t, 'y += u Bᵀ', (await read(y)).subarray(0, N * O), twin.nt(uh, bh, N, r, O).map((v, i) => v + ys[i]!), reduce(r), [N, O]);
      close(t, 'dB', await read(db), twin.tn(dyh, uh, N, O, r).map((v) => v + 2), reduce(N), [O, r]);
      const dus = (await read(du)).subarray(0, N * r);
      close(t, 'du', dus, twin.nn(dyh, bh, N, O, r), reduce(O), [N, r]);
      const duh = half(dus, 64);
      close(t, 'dA', await read(da), twin.tn(duh, xh, N, r, I).map((v) => v + 2), reduce(N), [r, I]);
      close(t, 'dx', (await read(dx)).subarray(0, N * I), twin.nn(duh, ah, N, r, I).map((v) => v + 3), reduce(r), [N, I]);
      for (const [of, fill] of [[u, 7], [du, 7], [dx, 3]] as const) t.equal((await read(of))[N * (of.shape[1] as number)], fill, `${of.label}: rows past N are not touched`);

      // Inner states and their gradients, times a factor, as operands where they are made or by passes of their own.
      const ends = async (fused: boolean): Promise<Record<string, Float32Array>> => {
        const into = upload(gpu, 'into', [packedBytes(N + 2, r, tile) / 4], new Uint32Array(packedBytes(N + 2, r, tile) / 4).fill(0x7e007e00));
        const [y, db, da, dx] = [output(gpu, 'y', [rows, O], 1), db0(), da0(), output(gpu, 'dx', [rows, I], 3)];
        const inner = new Tensor(gpu, 'u', [rows, r]);
        store.peaks!.write(new Uint32Array(6));
        await runOnce(gpu, (p) => p.mixed(store, () => {
          const [wa, wb] = [store.weight(a)!, store.weight(b)!];
          if (fused) matrixOperand(p, { x, w: wa, y: inner, into }, SLOT.made, 1.5);
          else matmulNT(p, { x, w: a, y: inner });
          if (!fused) scale(p, inner, 1.5);
          matmulNT(p, { x: inner, w: b, y }, { accumulate: true });
          matmulTN(p, { a: dy, b: inner, y: db });
          if (fused) matrixOperandGradient(p, { x: dy, w: wb, y: inner, into }, SLOT.du, 1.5);
          else matmulNN(p, { x: dy, w: b, y: inner });
          if (!fused) scale(p, inner, 1.5);
          matmulTN(p, { a: inner, b: x, y: da });
          matmulNN(p, { x: inner, w: a, y: dx }, { accumulate: true });
          t.equal(p.dispatches({ N, measureScales: 0 }).filter(({ label }) => /scale$|pack/.test(label)).length, fused ? 2 : 6, 'x and dy are packed, else u and du too, and scaled');
        }), { N, measureScales: 1 });
        return { y: await read(y), dB: await read(db), dA: await read(da), dx: await read(dx), scales: await read(store.scales) };
      };
      const db0 = (): Tensor => (db.write(new Float32Array(O * r).fill(2)), db);
      const da0 = (): Tensor => (da.write(new Float32Array(r * I).fill(2)), da);
      const [plain, fused] = [await ends(false), await ends(true)];
      for (const [what, of] of Object.entries(plain)) t.same([...fused[what]!], [...of], `${what}: the same bits`);
      t.ok(plain['scales']![SLOT.du] !== 64 && [...plain['y']!, ...plain['dA']!].every(Number.isFinite));

      // As at the start of a run, and after A has shrunk a millionfold.
      b.write(new Float32Array(O * r));
      a.write(as.map((v) => v * 2 ** -20));
      await runOnce(gpu, packs);
      t.same([...(await read(store.scales))].filter((_, i) => i !== SLOT.du && i !== SLOT.dy), [scales[0]! * 2 ** 20, scales[1]! * 2 ** 20, 1, 0.25], 'scales follow; that of zeros is 1');
      store.destroy();
    });
  }

  t.test('copies behind one another: in one buffer where they fit, none reads past its end', (t) => {
    const list = [[16, 4096], [4096, 16], [16, 4096], [33, 100]].map(([rows, inner]) => ({ rows: rows!, inner: inner! }));
    const card = { ...found, BM: 128, BN: 128, BK: 32, MM: 16, MN: 16, MK: 16, WM: 2, WN: 2 };
    const extents = list.map(({ rows, inner }) => 16 * adapterExtent(rows, inner, card));
    const [one, ...more] = layCopies(list, card, 1 << 30);
    t.same([more.length, one!.members.map(({ of }) => of)], [0, list]);
    t.ok(one!.members.every(({ offset }, i) => offset % 256 === 0 && offset + extents[i]! <= one!.bytes));
    const ranks = 2 * (32 * 4096 + 4096 * 32 + 32 * 4096 + 64 * 128);
    t.ok(one!.members.at(-1)!.offset + 2 * 64 * 128 === ranks, 'a rank of 16 is padded to a step of 32, not to a tile of 128');
    const several = layCopies(list, card, Math.max(...extents) + 1000);
    t.ok(several.length > 1 && several.every(({ bytes }) => bytes <= Math.max(...extents) + 1000));
    t.end();
  });
}
