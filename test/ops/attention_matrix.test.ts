import t from 'tap';
import { kernelSource } from '../../src/gpu/kernel.js';
import { matrixTile, tileFor } from '../../src/gpu/matrices.js';
import { attentionKernels } from '../../src/gpu/ops/attention_matrix.js';
import { attentionSharedBytes, attentionTile, attentionTileFits, attentionTune, matrixAttention, type AttentionTile } from '../../src/gpu/ops/attention_matrix_tile.js';
import type { AttentionPass } from '../../src/gpu/ops/attention_tiles.js';
import { pack } from '../../src/model/batch/pack.js';
import { doc, visibility } from '../helpers/attention_case.js';
import { close } from '../helpers/close.js';
import { compute, given, SCALES, type Case, type Given } from '../helpers/attention_matrix.js';
import { nullGpu, testGpu } from '../helpers/gpu.js';
import { half } from '../helpers/operand_store.js';
import { normals } from '../helpers/rng.js';
import * as twin from '../reference/attention.js';

const gpu = await testGpu();
const found = matrixTile(gpu);
const PASSES: AttentionPass[] = ['fwd', 'dq', 'dkv'];
/** What a sum of products of f16 numbers is off by, of the largest: each of them by 2^-11 of itself at most, softmax's by their scores' error besides. */
const halves = { atol: 2e-3, rtol: 2e-3, name: 'halves' };
/** Cases are written for matrices of 8 x 8 x 8; where they are larger, so are heads and tiles. */
const LARGER = typeof found === 'string' ? 1 : Math.max(found.MM, found.MK) / 8;
const width = (C: number): number => (C < 64 ? C * LARGER : C);
const tileOf = (t: AttentionTile): AttentionTile => ({ ...t, BM: t.BM * LARGER, BN: t.BN * LARGER });

const cases: Array<[string, Case]> = ([
  ['one row and a branch of one', { H: 1, G: 1, C: 8, docs: [doc(0, 1, 1)] }],
  ['lengths off the tiles, three documents', { H: 6, G: 2, C: 8, docs: [doc(0, 3, 4, 2), doc(1, 1, 6), doc(2, 9, 1, 7, 3)] }],
  ['many small documents', { H: 3, G: 1, C: 16, docs: Array.from({ length: 9 }, (_, i) => doc(i, 1 + (i % 3), 1 + (i % 4), 1)) }],
  ['a prompt of several tiles with short branches', { H: 4, G: 1, C: 8, docs: [doc(0, 150, 3, 1, 70), doc(1, 2, 9)] }],
  ['a window smaller than a tile, soft-capped', { H: 2, G: 2, C: 16, docs: [doc(0, 77, 12, 30), doc(1, 4, 9)], window: 5, softCap: 3 }],
  ['a window over a tile’s edge', { H: 2, G: 1, C: 8, docs: [doc(0, 70, 90, 20)], window: 67 }],
  ['subgroups side by side, two lanes a row', { H: 2, G: 1, C: 32, docs: [doc(0, 70, 41, 3), doc(1, 5, 6)], tile: { BM: 16, BN: 32, WM: 2, WN: 2, PAD: 2, REG: 1 } }],
  ['subgroups side by side, several matrices down', { H: 2, G: 2, C: 16, docs: [doc(0, 40, 37, 3), doc(1, 5, 6)], window: 30, tile: { BM: 32, BN: 16, WM: 2, WN: 2, PAD: 1, REG: 0 } }],
  ['heads of 64', { H: 2, G: 1, C: 64, docs: [doc(0, 5, 9, 4)] }],
  ['heads of 128', { H: 1, G: 1, C: 128, docs: [doc(0, 3, 9)] }],
] as Array<[string, Case]>).map(([name, c]) => [name, { ...c, C: width(c.C), ...(c.tile ? { tile: tileOf(c.tile) } : {}) }]);

if (typeof found === 'string') {
  t.pass(`no matrices here: ${found}`);
} else {
  for (const [name, c] of cases) {
    t.test(`${name}: H=${c.H} G=${c.G} C=${c.C}, against the twin of the rounded operands`, async (t) => {
      const { H, G, C, docs, window = 0, softCap = 0 } = c;
      const N = pack(docs).values.N;
      const x = given(N, c);
      if (c.tile) t.ok(attentionTileFits(C, found, c.tile));
      const got = await compute(c, x);
      t.equal(got.labels, 12, 'four operands packed with dout’s measurement, three passes, delta, the measurement of ds');
      const rounded = { q: half(x.q, SCALES[0]!), k: half(x.k, SCALES[1]!), v: half(x.v, SCALES[2]!), dout: half(x.dout, SCALES[3]!) };
      const shape = { N, H, G, C, scale: 1 / Math.sqrt(C), softCap, sees: visibility(docs, window) };
      const want = twin.attention(rounded.q, rounded.k, rounded.v, shape);
      const back = twin.attentionBackward(rounded.q, rounded.k, rounded.v, rounded.dout, shape);
      close(t, 'lse: f32 sums of exact products', got.lse, want.lse, { atol: 2e-5, rtol: 2e-5, name: 'lse' }, [N, H]);
      close(t, 'o', got.o, want.o, halves, [N, H * C]);
      for (const d of ['dq', 'dk', 'dv'] as const) close(t, d, got[d], back[d], halves, [N, (d === 'dq' ? H : G) * C]);
    });
  }

  for (const wide of [false, true]) t.test(`scores that grow from block to block: a row’s reference follows its maximum${wide ? ', several subgroups' : ''}`, async (t) => {
    const c: Case = { H: 2, G: 1, C: width(wide ? 32 : 8), docs: [doc(0, 33, 20), doc(1, 12, 5)], ...(wide ? { tile: tileOf({ BM: 16, BN: 32, WM: 2, WN: 2, PAD: 2, REG: 1 }) } : {}) };
    const { H, G, C, docs } = c;
    const N = pack(docs).values.N;
    const x = given(N, c, 9);
    // Queries look one way, keys the same way and farther with every row; some rows' queries the other way, whose maximum stays where it began.
    for (let i = 0; i < N; i++) for (let e = 0; e < C; e++) {
      for (let h = 0; h < H; h++) x.q[(i * H + h) * C + e] = (i % 3 ? 1 : -1) * (2 + Math.abs(x.q[(i * H + h) * C + e]!));
      x.k[i * C + e] = i / C + 0.1 * x.k[i * C + e]!;
    }
    const got = await compute(c, x);
    const rounded = { q: half(x.q, SCALES[0]!), k: half(x.k, SCALES[1]!), v: half(x.v, SCALES[2]!), dout: half(x.dout, SCALES[3]!) };
    const shape = { N, H, G, C, scale: 1 / Math.sqrt(C), softCap: 0, sees: visibility(docs, 0) };
    const want = twin.attention(rounded.q, rounded.k, rounded.v, shape);
    t.ok(Math.max(...want.lse) > 30 && Math.min(...want.lse) < -3, `lse from ${Math.min(...want.lse)} to ${Math.max(...want.lse)}`);
    close(t, 'lse', got.lse, want.lse, { atol: 2e-5, rtol: 2e-5, name: 'lse' }, [N, H]);
    close(t, 'o', got.o, want.o, halves, [N, H * C]);
    // Not dq: ds of a row sum to nothing, and times keys that look one way little but their rounding is left.
    const back = twin.attentionBackward(rounded.q, rounded.k, rounded.v, rounded.dout, shape);
    for (const d of ['dk', 'dv'] as const) close(t, d, got[d], back[d], halves, [N, G * C]);
  });

  t.test('a row’s bits depend on its own prompt and branch alone, forward and backward but for the keys of a prompt that others share', async (t) => {
    const c = { H: 4, G: 2, C: width(8) };
    const widths = { q: c.H * c.C, k: c.G * c.C, v: c.G * c.C, dout: c.H * c.C };
    const names = Object.keys(widths) as Array<keyof Given>;
    const own = Object.fromEntries(names.map((name, i) => [name, { prompt: normals(10 + i, 70 * widths[name]), branch: normals(20 + i, 13 * widths[name]) }])) as Record<keyof Given, { prompt: Float32Array; branch: Float32Array }>;
    const bits: string[] = [];
    for (const { before, sibling, first } of [{ before: 0, sibling: 0, first: true }, { before: 5, sibling: 0, first: true }, { before: 7, sibling: 66, first: true }, { before: 7, sibling: 3, first: false }]) {
      const docs = [...(before ? [doc(0, before, 3)] : []), doc(1, 70, ...(first ? [13, sibling] : [sibling, 13]).filter((n) => n > 0)), doc(2, 2, 1)];
      const { N } = pack(docs).values;
      const start = before ? before + 3 : 0;
      const branchAt = start + 70 + (first ? 0 : sibling);
      const x = given(N, { ...c, docs }, before * 100 + 1);
      for (const name of names) {
        x[name].set(own[name].prompt, start * widths[name]);
        x[name].set(own[name].branch, branchAt * widths[name]);
      }
      const got = await compute({ ...c, docs, window: 60 }, x);
      const of = (name: 'o' | 'lse' | 'dq' | 'dk' | 'dv', from: number, rows: number): Uint32Array => {
        const width = got[name].length / N;
        return new Uint32Array(got[name].slice(from * width, (from + rows) * width).buffer);
      };
      bits.push([of('o', start, 70), of('lse', start, 70), of('dq', start, 70), ...(['o', 'lse', 'dq', 'dk', 'dv'] as const).map((name) => of(name, branchAt, 13))].join(';'));
    }
    for (const b of bits) t.equal(b, bits[0]);
  });

  t.test('without history the gradients’ scales are measured as they come', async (t) => {
    const c: Case = { H: 2, G: 1, C: width(8), docs: [doc(0, 9, 4, 6)] };
    const x = given(19, c);
    const { scales, peaks, dq } = await compute(c, x, 1);
    t.equal(peaks[3], x.dout.reduce((m, v) => Math.max(m, Math.abs(v)), 0), 'the largest of dout');
    for (const slot of [3, 4]) t.ok(Number.isInteger(Math.log2(scales[slot]!)) && peaks[slot]! * scales[slot]! <= 4096 && peaks[slot]! * scales[slot]! > 2048, `${peaks[slot]} times ${scales[slot]}`);
    const shape = { N: 19, H: 2, G: 1, C: c.C, scale: 1 / Math.sqrt(c.C), softCap: 0, sees: visibility(c.docs, 0) };
    close(t, 'dq', dq, twin.attentionBackward(half(x.q, SCALES[0]!), half(x.k, SCALES[1]!), half(x.v, SCALES[2]!), x.dout, shape).dq, halves, [19, 2 * c.C]);
  });
}

/** Bytes of the workgroup variables a shader declares. */
const declaredBytes = (source: string, constants: Record<string, number>): number =>
  [...source.matchAll(/var<workgroup> \w+: array<(.+), (\w+)>;/g)].reduce((n, [, type, size]) => n + ({ 'vec4<u32>': 16, vec4f: 16, 'vec2<u32>': 8 }[type!] ?? 4) * constants[size!]!, 0);

t.test('the passes compile for matrices of 16 x 16 x 16, 16 x 8 x 16 and 8 x 8 x 8 with 32 lanes, the first with 64 too, and take the workgroup memory that the host counts', async (t) => {
  const none = await nullGpu();
  for (const [MM, MN, MK, SG] of [[16, 16, 16, 32], [16, 8, 16, 32], [8, 8, 8, 32], [16, 16, 16, 64]] as const) {
    const m = tileFor({ MM, MN, MK, SG }, none.limits);
    for (const C of [64, 80, 128, 256]) for (const pass of PASSES) {
      const tile = attentionTile(pass, C, m, { ...none.limits, workgroupBytes: 48 << 10 });
      const tune = attentionTune(C, m, tile);
      const source = kernelSource(none, attentionKernels[pass], tune);
      const { messages } = await none.device.createShaderModule({ code: source }).getCompilationInfo();
      t.same(messages.filter((x) => x.type === 'error').map((x) => `${x.lineNum}: ${x.message}`), [], `${pass} ${MM}x${MN}x${MK} of ${SG} lanes C=${C}`);
      const bytes = attentionSharedBytes(pass, C, tile);
      t.equal(declaredBytes(source, tune), bytes);
      t.ok(bytes <= 48 << 10, `${bytes} bytes`);
    }
  }
  none.close();
});

t.test('which heads run in matrices: those they divide, up to 256 wide, in two halves above 128', (t) => {
  const runs = (MM: number, MN: number, MK: number, SG: number): number[] => {
    const m = tileFor({ MM, MN, MK, SG }, { workgroupInvocations: 256, workgroupBytes: 32 << 10 });
    return Array.from({ length: 65 }, (_, i) => 8 * i + 4).flatMap((C) => [C, C + 4]).filter((C) => matrixAttention(C, m));
  };
  t.same(runs(16, 16, 16, 32), [16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256]);
  t.same(runs(8, 8, 8, 32).slice(-4), [208, 224, 240, 256]);
  t.same(runs(16, 16, 16, 64), runs(16, 16, 16, 32), 'subgroups of 64 as of 32');
  t.same(runs(8, 8, 8, 64), runs(8, 8, 8, 32));
  t.same(runs(8, 8, 8, 8).slice(0, 3), [8, 16, 24]);
  t.notOk(matrixAttention(6, tileFor({ MM: 8, MN: 8, MK: 8, SG: 8 }, { workgroupInvocations: 256, workgroupBytes: 32 << 10 })));
  t.end();
});
