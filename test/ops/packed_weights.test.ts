import t from 'tap';
import { embed, embedAdd } from '../../src/gpu/ops/embed.js';
import { labelOffset } from '../../src/gpu/ops/head_kernels.js';
import { matmulNN, matmulNT } from '../../src/gpu/ops/matmul.js';
import { weightTensors } from '../../src/gpu/ops/weights.js';
import { PackedTensor, WEIGHT_FORMATS, type PackedFormat } from '../../src/gpu/packed.js';
import type { Gpu } from '../../src/gpu/device.js';
import type { Tensor } from '../../src/gpu/tensor.js';
import { fillPacked, readPacked } from '../../src/model/packing/packed.js';
import { close, reduce } from '../helpers/close.js';
import { output, read, runOnce, testGpu, upload } from '../helpers/gpu.js';
import { normals } from '../helpers/rng.js';
import * as twin from '../reference/matmul.js';

const PACKED = WEIGHT_FORMATS.filter((f): f is PackedFormat => f !== 'f32');

/** A matrix in this format, and what it stands for. */
async function packed(gpu: Gpu, format: PackedFormat, O: number, I: number, ws: Float32Array): Promise<{ w: PackedTensor; values: Float32Array }> {
  const w = new PackedTensor(gpu, 'w', [O, I], format);
  await fillPacked(w, 'w', (first, rows) => ws.subarray(first * I, (first + rows) * I), 'other');
  return { w, values: await readPacked(w) };
}

// Rows that are no multiple of 4 (the scalar form), of 4 alone, of nf4's block; enough blocks for two scales of scales; a last block cut short.
for (const [M, I, O] of [[1, 1, 1], [5, 123, 7], [67, 20, 37], [9, 128, 12], [3, 260, 70]] as const) {
  t.test(`M=${M} I=${I} O=${O}: products with packed weights are those with what the weights stand for`, async (t) => {
    const gpu = await testGpu();
    const [xs, ws, dys] = [normals(M, M * I), normals(O, O * I), normals(3, M * O)];
    const [x, dy] = [upload(gpu, 'x', [M, I], xs), upload(gpu, 'dy', [M, O], dys)];
    for (const format of PACKED) {
      const { w, values } = await packed(gpu, format, O, I, ws);
      const worst = values.reduce((a, v, i) => Math.max(a, Math.abs(v - ws[i]!)), 0);
      t.ok(worst < { f16: 2e-3, bf16: 2e-2, int8: 2e-2, nf4: 0.7, nf4_double: 0.7 }[format], `${format} is off by ${worst}`);
      // What is added to is no matter of the format: one of them shows it.
      const sums = format === 'nf4_double' && I === 20;
      const [y, added, summed] = [output(gpu, 'y', [M, O + 3], 7), output(gpu, 'y+', [M, O], 7), output(gpu, 'y+=', [M, O], 7)];
      const [dx, dxSum] = [output(gpu, 'dx', [M, I], 3), output(gpu, 'dx+=', [M, I], 3)];
      await runOnce(gpu, (p) => {
        matmulNT(p, { x, w, y });
        matmulNN(p, { x: dy, w, y: dx });
        if (!sums) return;
        matmulNT(p, { x, w, y: added }, { add: dy });
        matmulNT(p, { x, w, y: summed }, { accumulate: true });
        matmulNN(p, { x: dy, w, y: dxSum }, { accumulate: true });
      });
      const want = twin.nt(xs, values, M, I, O);
      const back = twin.nn(dys, values, M, O, I);
      const got = await read(y);
      close(t, `${format} nt`, got.filter((_, i) => i % (O + 3) < O), want, reduce(I), [M, O]);
      t.ok(got.every((v, i) => i % (O + 3) < O || v === 7), 'columns past O are not touched');
      close(t, `${format} nn`, await read(dx), back, reduce(O), [M, I]);
      if (!sums) continue;
      close(t, `${format} nt + add`, await read(added), want.map((v, i) => v + dys[i]!), reduce(I), [M, O]);
      close(t, `${format} nt accumulates`, await read(summed), want.map((v) => v + 7), reduce(I), [M, O]);
      close(t, `${format} nn accumulates`, await read(dxSum), back.map((v) => v + 3), reduce(O), [M, I]);
    }
  });
}

t.test('a range of rows, and bits that depend on a row alone and are those of the same weights in f32', async (t) => {
  const gpu = await testGpu();
  for (const [I, O, first, count] of [[64, 44, 8, 20], [33, 19, 3, 13]] as const) {
    for (const format of PACKED) {
      const { w, values } = await packed(gpu, format, O, I, normals(8, O * I));
      const same = upload(gpu, 'w f32', [O, I], values);
      const row = normals(7, I);
      const bits: string[] = [];
      for (const [M, at, weights] of [[1, 0, w], [70, 66, w], [70, 66, same]] as Array<[number, number, Tensor]>) {
        const xs = normals(M, M * I);
        xs.set(row, at * I);
        const [y, z] = [output(gpu, 'y', [M, count]), output(gpu, 'z', [M, I])];
        await runOnce(gpu, (p) => {
          matmulNT(p, { x: upload(gpu, 'x', [M, I], xs), w: weights, y }, { first, count });
          matmulNN(p, { x: y, w: weights, y: z }, { first, count });
        });
        const rows = [(await read(y)).slice(at * count, (at + 1) * count), (await read(z)).slice(at * I, (at + 1) * I)];
        if (weights === w && M === 1) close(t, `${format} range`, rows[0]!, twin.nt(row, values.subarray(first * I, (first + count) * I), 1, I, count), reduce(I));
        bits.push(rows.map((r) => new Uint32Array(r.buffer).join()).join('; '));
      }
      t.equal(bits[1], bits[0], `${format}: a row alone`);
      if (format === 'f16' || format === 'bf16') t.equal(bits[2], bits[0], `${format}: as f32`);
    }
  }
});

t.test('tables in f16 and bf16: embeddings, learned positions, the label’s offset; f16’s smallest numbers', async (t) => {
  const gpu = await testGpu();
  const [R, S] = [9, 5];
  for (const D of [7, 12]) {
    const ws = normals(2, R * D);
    ws.set([6e-8, -6e-5, 6.2e-5, 65504, 0], D);
    const [ids, hs, rs] = [Uint32Array.of(8, 0, 3, 1, 3), normals(4, S * D), normals(5, S * D)];
    for (const format of ['f16', 'bf16'] as const) {
      const { w, values } = await packed(gpu, format, R, D, ws);
      const [x, sum, offset, zero] = [output(gpu, 'x', [S, D], 9), output(gpu, 'sum', [S, D], 1), output(gpu, 'offset', [S], 9), output(gpu, 'zero', [S], 9)];
      const [labels, hidden, refHidden, plain] = [upload(gpu, 'labels', [S], ids), upload(gpu, 'hidden', [S, D], hs), upload(gpu, 'ref', [S, D], rs), upload(gpu, 'plain', [R, D], values)];
      await runOnce(gpu, (p) => {
        embed(p, { ids: labels, pieces: [{ first: 0, table: w }], x }, 0.5);
        embedAdd(p, { ids: labels, table: w, x: sum });
        const [a, b] = [weightTensors('w', plain), weightTensors('ref_w', w)];
        p.run(labelOffset('f32', format), { hidden, ref_hidden: refHidden, ...a, ...b, labels, offset }, { first: 0, soft_cap: 0, scale: 1 });
        p.run(labelOffset('f32', format), { hidden, ref_hidden: hidden, ...a, ...b, labels, offset: zero }, { first: 0, soft_cap: 0, scale: 1 });
      });
      const rows = Float32Array.from({ length: S * D }, (_, i) => values[ids[Math.floor(i / D)]! * D + (i % D)]!);
      t.same([...(await read(x))], [...rows.map((v) => v * 0.5)], `${format} embeddings, exactly`);
      t.same([...(await read(sum))], [...rows.map((v) => 1 + v)], `${format} positions, exactly`);
      const want = Float64Array.from({ length: S }, (_, s) => rows.subarray(s * D, (s + 1) * D).reduce((a, v, d) => a + v * (hs[s * D + d]! - rs[s * D + d]!), 0));
      close(t, `${format} offset`, await read(offset), want, { atol: 0.05, rtol: 1e-5, name: 'sums with 65504 in them' });
      t.same([...(await read(zero))], [0, 0, 0, 0, 0], 'exactly 0 between a table in f32 and the same in 16 bits');
    }
  }
});

t.test('a weight that f16 cannot hold is named', async (t) => {
  const gpu = await testGpu();
  const w = new PackedTensor(gpu, 'w', [2, 4], 'f16');
  await t.rejects(fillPacked(w, 'model.x.weight', () => Float32Array.of(1, 2, 3, 4, 5, -70000, 7, 8), '--base_dtype bfloat16'), { message: 'model.x.weight holds -70000, which float16 cannot', hint: '--base_dtype bfloat16' });
});
