import t, { type Test } from 'tap';
import { Head, HEAD_TILE, headWidth, type HeadOptions } from '../../src/gpu/ops/head.js';
import { keptBytes, type HeadTiles } from '../../src/gpu/ops/kept_tiles.js';
import { roundF16, STATS, TERMS } from '../../src/gpu/ops/head_kernels.js';
import { defineKernel } from '../../src/gpu/kernel.js';
import { seqSum } from '../../src/gpu/ops/seq_sum.js';
import type { Tensor } from '../../src/gpu/tensor.js';
import { f16BitsToF32, f32Bits, f32BitsToF16Bits } from '../../src/model/files/float_formats.js';
import { close, reduce } from '../helpers/close.js';
import { finiteDifference } from '../helpers/finite_diff.js';
import { output, read, runOnce, testGpu, upload } from '../helpers/gpu.js';
import { normals, rng } from '../helpers/rng.js';
import * as matmul from '../reference/matmul.js';
import * as twin from '../reference/head.js';

const D = 12;
const rows = (a: ArrayLike<number>, width: number): number[][] => Array.from({ length: a.length / width }, (_, i) => Array.from({ length: width }, (_, j) => a[i * width + j]!));

async function setup(V: number, cuts: number[], over: Partial<HeadOptions> = {}, same = false) {
  const gpu = await testGpu();
  const S = 7;
  const [h, w] = [normals(V, S * D), normals(V + 1, V * D, 0.8)];
  const [hr, wr] = same ? [h, w] : [h.map((x, i) => Math.fround(x + 0.1 * Math.sin(i))), w.map((x, i) => Math.fround(x + 0.05 * Math.cos(i)))];
  const pieces = (data: Float32Array): Tensor[] => cuts.slice(0, -1).map((first, i) => upload(gpu, 'piece', [cuts[i + 1]! - first, D], data.slice(first * D, cuts[i + 1]! * D)));
  const labels = Uint32Array.from({ length: S }, (_, s) => (s * 31 + V - 1) % V);
  const [f, r] = [rows(matmul.nt(h, w, S, D, V), V), rows(matmul.nt(hr, wr, S, D, V), V)];
  const dPieces = cuts.slice(0, -1).map((first, i) => output(gpu, 'dpiece', [cuts[i + 1]! - first, D], 0));
  const head = new Head({ gpu, S, D, V, mode: 'hidden', pieces: pieces(w), refPieces: pieces(wr), dPieces, rounded: false, bf16: false, ...over });
  return { gpu, S, h, w, hr, f, r, labels, head, dPieces, hidden: upload(gpu, 'hidden', [S, D], h), refHidden: upload(gpu, 'ref', [S, D], hr), labelTensor: upload(gpu, 'labels', [S], labels) };
}

for (const [V, cuts, tile, epsilon] of [[1, [0, 1], 512, 0.01], [5, [0, 5], 512, 0.01], [512, [0, 512], 512, 0.01], [513, [0, 513], 512, 0.02], [1100, [0, 300, 1000, 1100], 512, 0.5], [37, [0, 10, 37], 8, 0.01]] as const) {
  t.test(`head V=${V} in pieces ${cuts.join(',')}, tile ${tile}, ε=${epsilon}: statistics and gradients`, async (t) => {
    const x = await setup(V, [...cuts], { tile, epsilon, klGradient: true, terms: { weighted: true, square: true, refEntropy: true } });
    const { gpu, S, labels, f, r, head } = x;
    const want = labels.reduce((list, y, s) => [...list, twin.token(f[s]!, r[s]!, y, epsilon)], [] as twin.TokenTwin[]);
    const refLogps = upload(gpu, 'ref_logps', [S], Float32Array.from(want, (k) => k.refLogp));
    const coef = Float32Array.of(-0.7, 0.2, 0.4, -0.3);
    const seqOf = Uint32Array.from({ length: S }, (_, s) => (s < 4 ? 0 : 1));
    const dHidden = output(gpu, 'dh', [S, D], 5);
    // Of log-prob and KL of each row, 0 among them.
    const weights = Array.from({ length: S }, (_, s) => [s === 2 ? 0 : 0.3 + 0.2 * s, 1.7 - 0.25 * s] as const);
    const tokenWeights = upload(gpu, 'weights', [S, 2], Float32Array.from(weights.flat()));
    await runOnce(gpu, (p) => {
      head.forward(p, { hidden: x.hidden, labels: x.labelTensor, refLogps, refHidden: x.refHidden, tokenWeights });
      head.backward(p, { tokenWeights, hidden: x.hidden, labels: x.labelTensor, refHidden: x.refHidden, coef: upload(gpu, 'coef', [2, 2], coef), seqOf: upload(gpu, 'seq', [S], seqOf), dHidden });
    });
    const stats = rows(await read(head.stats), STATS.length);
    const column = (name: (typeof STATS)[number]): number[] => stats.map((row) => row[STATS.indexOf(name)]!);
    const loose = { atol: 2e-6, rtol: 2e-6, name: 'head' };
    close(t, 'logp', column('logp'), want.map((k) => k.logp), loose);
    close(t, 'lse', column('lse'), want.map((k) => k.lse), loose);
    close(t, 'entropy', column('entropy'), want.map((k) => k.entropy), { atol: 5e-6, rtol: 5e-6, name: 'head' });
    const absolute = (name: string, got: number[], ref: number[], limit: number): void => {
      const worst = Math.max(...got.map((g, i) => Math.abs(g - ref[i]!)));
      t.ok(worst < limit, `${name}: off by ${worst}, allowed ${limit}`);
    };
    absolute('δ+', column('delta_plus'), want.map((k) => k.deltaPlus), 3e-6 * Math.max(0.1, epsilon));
    absolute('δ-', column('delta_minus'), want.map((k) => k.deltaMinus), 3e-6 * Math.max(0.1, epsilon));
    absolute('KL(policy‖ref)', column('kl_policy_ref'), want.map((k) => k.klPolicyRef), 5e-6);
    absolute('KL(ref‖policy)', column('kl_ref_policy'), want.map((k) => k.klRefPolicy), 5e-6);
    const terms = rows(await read(head.terms!), TERMS.length);
    const term = (name: (typeof TERMS)[number]): number[] => terms.map((row) => row[TERMS.indexOf(name)]!);
    close(t, 'weighted log-probs', term('weighted_logp'), want.map((k, s) => weights[s]![0] * k.logp), loose);
    close(t, 'weighted reference log-probs', term('weighted_ref_logp'), want.map((k, s) => weights[s]![0] * k.refLogp), loose);
    absolute('weighted KLs', term('weighted_kl'), want.map((k, s) => weights[s]![1] * k.klRefPolicy), 1e-5);
    close(t, 'the weights themselves', [...term('weight'), ...term('kl_weight')], [0, 1].flatMap((i) => weights.map((w) => w[i]!)), { atol: 1e-7, rtol: 1e-7, name: 'rounding' });
    close(t, 'log π - log Σ π²', term('sharpness'), want.map((k) => k.logp - k.logSquares), { atol: 4e-6, rtol: 4e-6, name: 'head' });
    close(t, 'the reference’s entropy', term('ref_entropy'), want.map((k) => k.refEntropy), { atol: 5e-6, rtol: 5e-6, name: 'head' });
    const df = f.flatMap((row, s) => twin.logitGradient(row, r[s]!, labels[s]!, coef[seqOf[s]! * 2]! * weights[s]![0], coef[seqOf[s]! * 2 + 1]! * weights[s]![1]));
    close(t, 'dhidden is written', await read(dHidden), matmul.nn(df, x.w, S, V, D), reduce(V), [S, D]);
    const dw = (await Promise.all(x.dPieces.map(read))).flatMap((a) => [...a]);
    close(t, 'dw', dw, matmul.tn(df, x.h, S, V, D), reduce(64), [V, D]);
  });
}

t.test('the width of a tile moves no bit of a statistic, nor more than rounding of a gradient', async (t) => {
  const run = async (width: number): Promise<{ bits: number[]; dHidden: Float32Array; dw: number[]; width: number }> => {
    const x = await setup(137, [0, 37, 137], { tile: 8, width, bf16: true, klGradient: true, terms: { weighted: false, square: true, refEntropy: true } });
    const { gpu, S, head } = x;
    const dHidden = output(gpu, 'dh', [S, D]);
    await runOnce(gpu, (p) => {
      const t = { hidden: x.hidden, labels: x.labelTensor, refHidden: x.refHidden };
      head.forward(p, { ...t, refLogps: output(gpu, 'ref_logps', [S], -3) });
      head.backward(p, { ...t, coef: upload(gpu, 'coef', [2, 2], Float32Array.of(-0.7, 0.2, 0.4, -0.3)), seqOf: upload(gpu, 'seq', [S], Uint32Array.from({ length: S }, (_, s) => s % 2)), dHidden });
    });
    const bits = (await Promise.all([head.stats, head.terms!].map(read))).flatMap((a) => [...new Uint32Array(a.buffer)]);
    return { bits, dHidden: await read(dHidden), dw: (await Promise.all(x.dPieces.map(read))).flatMap((a) => [...a]), width: head.width };
  };
  const narrow = await run(8);
  for (const width of [16, 40, 1000]) {
    const wide = await run(width);
    t.equal(wide.width, Math.min(width, 137));
    t.same(wide.bits, narrow.bits, `${width} columns`);
    close(t, 'dhidden', wide.dHidden, narrow.dHidden, reduce(137));
    close(t, 'dw', wide.dw, narrow.dw, reduce(7));
  }
});

/** Each value within what its operands' rounding allows, f32 sums beside it; and so near to it that the allowance says something. */
function within(t: Test, name: string, got: ArrayLike<number>, want: ArrayLike<number>, allowed: ArrayLike<number>): void {
  const scale = Array.from(want).reduce((m, x) => Math.max(m, Math.abs(x)), 0);
  const worst = Array.from(want).reduce((m, x, i) => Math.max(m, Math.abs(got[i]! - x) / (allowed[i]! + 2e-6 * scale)), 0);
  t.ok(worst < 1 && worst > 0.01, `${name}: ${(100 * worst).toFixed(1)} % of what f16 of f - top allows`);
}

for (const [V, cuts, tile, width, cap] of [[37, [0, 10, 37], 8, 8, 0], [137, [0, 37, 137], 8, 40, 3], [1100, [0, 300, 1000, 1100], 512, 512, 0], [1030, [0, 1030], 512, 1024, 30]] as const) {
  t.test(`kept tiles, V=${V} in pieces ${cuts.join(',')}, folds of ${tile}, tiles of ${width}, soft cap ${cap}: no bit of the forward pass, gradients in f16’s class, no logits made again`, async (t) => {
    for (const klGradient of [false, true]) for (const weighted of [false, true]) {
      const run = async (tiles: HeadTiles, without = false) => {
        const gpu = await testGpu();
        if (without) gpu.without.add('head_tiles_kept');
        const x = await setup(V, [...cuts], { tile, width, softCap: cap, tiles, klGradient, bf16: true, terms: { weighted, square: true, refEntropy: true } });
        gpu.without.delete('head_tiles_kept');
        const { S, head } = x;
        const dHidden = output(gpu, 'dh', [S, D], 5);
        const weights = Float32Array.from({ length: 2 * S }, (_, i) => (i === 4 ? 0 : 0.3 + 0.2 * i));
        const tokenWeights = weighted ? upload(gpu, 'weights', [S, 2], weights) : undefined;
        const inputs = { hidden: x.hidden, labels: x.labelTensor, refHidden: x.refHidden, tokenWeights };
        let products = 0;
        await runOnce(gpu, (p) => {
          head.forward(p, { ...inputs, refLogps: output(gpu, 'ref_logps', [S], -3) });
          const before = p.dispatches({}).length;
          head.backward(p, { ...inputs, coef: upload(gpu, 'coef', [2, 2], Float32Array.of(-0.7, 0.2, 0.4, -0.3)), seqOf: upload(gpu, 'seq', [S], Uint32Array.from({ length: S }, (_, s) => s % 2)), dHidden });
          products = p.dispatches({}).slice(before).filter((d) => /matmul\.(nt|tiled_nt)/.test(d.label)).length;
        });
        const bits = (await Promise.all([head.stats, head.terms!].map(read))).flatMap((a) => [...new Uint32Array(a.buffer)]);
        const kept = head.tensors.filter((k) => /kept/.test(k.label)).reduce((n, k) => n + k.bytes, 0);
        return { x, weights, bits, kept, products, ranges: head['ranges'].length, dHidden: await read(dHidden), dw: (await Promise.all(x.dPieces.map(read))).flatMap((a) => [...a]) };
      };
      const again = await run('recomputed');
      const { f, r, labels, S, w, h } = again.x;
      const capped = (z: number): number => (cap > 0 ? cap * Math.tanh(z / cap) : z);
      const row = (s: number): [number[], number[], number, number, number] =>
        [f[s]!.map(capped), r[s]!.map(capped), labels[s]!, [-0.7, 0.4][s % 2]! * (weighted ? again.weights[2 * s]! : 1), klGradient ? [0.2, -0.3][s % 2]! * (weighted ? again.weights[2 * s + 1]! : 1) : 0];
      const df = f.flatMap((_, s) => twin.logitGradient(...row(s)).map((g, v) => (cap > 0 ? g * (1 - (capped(f[s]![v]!) / cap) ** 2) : g)));
      const [dHidden, dw] = [matmul.nn(df, w, S, V, D), matmul.tn(df, h, S, V, D)];
      const magnitudes = (x: ArrayLike<number>): number[] => Array.from(x, Math.abs);
      close(t, 'made again: dhidden', again.dHidden, dHidden, reduce(V));
      t.equal(again.products, (klGradient ? 2 : 1) * again.ranges, 'logits are made again');
      t.equal(again.kept, 0);
      for (const tiles of ['kept', 'kept_both'] as const) {
        const name = `${tiles}${klGradient ? ', KL' : ''}${weighted ? ', weighted' : ''}`;
        const got = await run(tiles);
        t.same(got.bits, again.bits, `${name}: statistics and terms to the bit`);
        t.equal(got.products, klGradient && tiles === 'kept' ? got.ranges : 0, `${name}: products of the backward pass that make logits`);
        const off = f.flatMap((_, s) => twin.keptError(...row(s), { cap, refKept: tiles === 'kept_both' }));
        within(t, `${name}: dhidden`, got.dHidden, dHidden, matmul.nn(off, magnitudes(w), S, V, D));
        within(t, `${name}: dw`, got.dw, dw, matmul.tn(off, magnitudes(h), S, V, D));
        t.notSame([...got.dHidden], [...again.dHidden], 'what was rounded was read');
        if (cuts.length === 2) t.equal(got.kept, keptBytes(S, V, width, klGradient ? tiles : 'kept', tile), 'bytes as planned');
        const plain = await run(tiles, true);
        t.same([plain.bits, [...plain.dHidden], plain.dw, plain.kept], [again.bits, [...again.dHidden], again.dw, 0], 'without the path all is made again');
      }
    }
  });
}

t.test('a vocabulary of one tile keeps nothing: it stands', async (t) => {
  const bits: number[][] = [];
  for (const tiles of ['recomputed', 'kept_both'] as const) {
    const x = await setup(100, [0, 100], { tile: 8, width: 104, tiles, klGradient: true });
    const { gpu, S, head } = x;
    const dHidden = output(gpu, 'dh', [S, D]);
    await runOnce(gpu, (p) => {
      const t = { hidden: x.hidden, labels: x.labelTensor, refHidden: x.refHidden };
      head.forward(p, { ...t, refLogps: output(gpu, 'ref_logps', [S], -3) });
      head.backward(p, { ...t, coef: upload(gpu, 'coef', [2, 2], Float32Array.of(-0.7, 0.2, 0.4, -0.3)), seqOf: upload(gpu, 'seq', [S], new Uint32Array(S)), dHidden });
    });
    t.notOk(head.tensors.some((k) => /kept/.test(k.label)));
    bits.push([...new Uint32Array((await read(dHidden)).buffer)]);
  }
  t.same(bits[1], bits[0]);
});

t.test('a tile on a hardware adapter takes 64 MiB at most, or one HEAD_TILE; a software adapter’s is one', async (t) => {
  for (const [rows, width] of [[64, 262144], [4096, 4096], [10467, 1536], [32768, 512], [100000, 512]] as const) {
    t.equal(headWidth(rows, true), width);
    t.equal(headWidth(rows, false), HEAD_TILE);
  }
});

t.test('realigned: the statistics are those of the logits λ f + (1 - λ) r; λ = 1 changes no bit, λ = 0 is the reference', async (t) => {
  const stats = async (realign: number | undefined): Promise<{ rows: number[][]; f: number[][]; r: number[][]; labels: Uint32Array }> => {
    const x = await setup(1100, [0, 300, 1000, 1100], { tile: 512, epsilon: 0.5, realign });
    const { gpu, S, labels, f, r, head } = x;
    const refLogps = upload(gpu, 'ref_logps', [S], Float32Array.from(labels, (y, s) => twin.token(f[s]!, r[s]!, y, 0.5).refLogp));
    await runOnce(gpu, (p) => head.forward(p, { hidden: x.hidden, labels: x.labelTensor, refLogps, refHidden: x.refHidden }));
    return { rows: rows(await read(head.stats), STATS.length), f, r, labels };
  };
  const plain = await stats(undefined);
  t.same((await stats(1)).rows, plain.rows);
  for (const λ of [1.7, 0.4, 0]) {
    const { rows: got, f, r, labels } = await stats(λ);
    const want = labels.reduce((list, y, s) => [...list, twin.token(f[s]!.map((z, j) => λ * z + (1 - λ) * r[s]![j]!), r[s]!, y, 0.5)], [] as twin.TokenTwin[]);
    const column = (name: (typeof STATS)[number]): number[] => got.map((row) => row[STATS.indexOf(name)]!);
    close(t, `λ = ${λ}, logp`, column('logp'), want.map((k) => k.logp), { atol: 4e-6, rtol: 4e-6, name: 'head' });
    for (const [name, key, limit] of [['delta_plus', 'deltaPlus', 3e-6], ['delta_minus', 'deltaMinus', 3e-6], ['kl_policy_ref', 'klPolicyRef', 1e-5], ['kl_ref_policy', 'klRefPolicy', 1e-5]] as const) {
      const worst = Math.max(...column(name).map((g, i) => Math.abs(g - want[i]![key])));
      t.ok(worst < limit, `λ = ${λ}, ${name}: off by ${worst}`);
    }
    if (λ === 0) t.ok(column('kl_policy_ref').every((k) => k === 0), 'no distance from the reference');
  }
});

t.test('the canonical logit gradient equals finite differences', async (t) => {
  const [f, r] = [[...normals(1, 9)], [...normals(2, 9)]];
  const value = (x: Float64Array): number => { const k = twin.token([...x], r, 4, 0.01); return 0.3 * k.logp - 0.8 * k.klRefPolicy; };
  close(t, 'df', twin.logitGradient(f, r, 4, 0.3, -0.8), finiteDifference(value, f), { atol: 1e-9, rtol: 1e-8, name: 'fd' });
});

for (const rounded of [false, true]) {
  t.test(`policy = reference: Δ and both KLs are exactly 0, ${rounded ? 'f16' : 'f32'} states`, async (t) => {
    const x = await setup(700, [0, 260, 700], { rounded, tile: 256 }, true);
    const { gpu, S, head } = x;
    const states = rounded ? x.h.map((v) => f16BitsToF32(f32BitsToF16Bits(f32Bits(v)))) : x.h;
    const plain = new Head({ gpu, S, D, V: 700, mode: 'none', pieces: head.options.pieces, rounded: false, bf16: false, tile: 256 });
    await runOnce(gpu, (p) => plain.forward(p, { hidden: x.hidden, labels: x.labelTensor }));
    const refLogps = upload(gpu, 'ref', [S], Float32Array.from(rows(await read(plain.stats), STATS.length), (row) => row[0]!));
    await runOnce(gpu, (p) => head.forward(p, { hidden: x.hidden, labels: x.labelTensor, refLogps, refHidden: upload(gpu, 'rh', [S, D], states) }));
    for (const row of rows(await read(head.stats), STATS.length)) t.same(row.slice(2, 6).map(Math.abs), [0, 0, 0, 0]);
  });
}

t.test('rounding to f16 equals the TypeScript twin, bit for bit', async (t) => {
  const gpu = await testGpu();
  const r = rng(5);
  const values = Float32Array.from({ length: 4096 }, (_, i) => {
    if (i < 2000) return r.normal() * 10 ** (r.int(14) - 8);
    if (i < 3500) return f16BitsToF32((i * 17) % 0x7c00) * (1 + (r.int(3) - 1) * 2 ** -11);
    return (i % 2 ? -1 : 1) * (65504 + r.int(40));
  });
  const y = output(gpu, 'y', [values.length]);
  await runOnce(gpu, (p) => p.run(roundF16, { x: upload(gpu, 'x', [values.length], values), y }));
  t.same([...(await read(y))], [...values].map((v) => f16BitsToF32(f32BitsToF16Bits(f32Bits(v)))));
});

t.test('expm1, log1p, softplus and sigmoid over wide ranges', async (t) => {
  const gpu = await testGpu();
  const xs = [0, ...Array.from({ length: 400 }, (_, i) => (i % 2 ? 1 : -1) * 10 ** (-8 + (i / 400) * 9.2))].map(Math.fround);
  const probe = (body: string) => defineKernel({ name: `probe ${body}`, shader: 'test/probe', read: { x: 'E' }, write: { y: 'E' }, args: { E: 'u32' }, tune: { WG: 64 }, prelude: `fn probed(x: f32) -> f32 { return ${body}; }`, grid: ({ E, WG }) => Math.ceil(E! / WG!) });
  for (const [body, f, from, limit] of [
    ['expm1(x)', Math.expm1, -20, 1e-6], ['log1p(x)', Math.log1p, -0.999, 3e-7], ['softplus(x)', (v: number) => Math.max(v, 0) + Math.log1p(Math.exp(-Math.abs(v))), -15, 2e-6], ['sigmoid(x)', (v: number) => 1 / (1 + Math.exp(-v)), -15, 2e-6],
  ] as const) {
    const inputs = Float32Array.from(xs.filter((x) => x > from));
    const y = output(gpu, 'y', [inputs.length]);
    await runOnce(gpu, (p) => p.run(probe(body), { x: upload(gpu, 'x', [inputs.length], inputs), y }));
    const got = await read(y);
    let worst = 0;
    inputs.forEach((x, i) => { const w = f(x); worst = Math.max(worst, Math.abs(got[i]! - w) / Math.max(Math.abs(w), 1e-30) * (w === 0 ? (got[i] === 0 ? 0 : 1) : 1)); });
    t.ok(worst < limit, `${body}: ${worst} relative, allowed ${limit}`);
  }
});

t.test('sequence sums: exact to 1e-6 of their size over 700 rows, whatever stands before them', async (t) => {
  const gpu = await testGpu();
  const stats = normals(1, 1000 * 12, 3);
  const bits: string[] = [];
  for (const start of [0, 137]) {
    const moved = new Float32Array(1000 * 12);
    moved.set(stats.subarray(0, 700 * 12), start * 12);
    const seqStats = output(gpu, 'q', [2, 12]);
    await runOnce(gpu, (p) => seqSum(p, { stats: upload(gpu, 's', [1000, 12], moved), seqStart: upload(gpu, 'st', [3], Uint32Array.of(start, start + 700, start + 700)), seqStats }));
    const got = await read(seqStats);
    const want = Array.from({ length: 12 }, (_, c) => { let n = 0; for (let i = 0; i < 700; i++) n += stats[i * 12 + c]!; return n; });
    t.ok(want.every((w, c) => Math.abs(got[c]! - w) < 2e-4), 'sums');
    bits.push(got.subarray(0, 12).join());
    t.same([...got.subarray(12)], new Array(12).fill(0), 'an empty sequence sums to 0');
  }
  t.equal(bits[0], bits[1]);
});
