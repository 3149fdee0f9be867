import t from 'tap';
import { defineKernel } from '../../src/gpu/kernel.js';
import { biasActivation } from '../../src/gpu/ops/bias_activation.js';
import { disentangledAttention, queryTiles } from '../../src/gpu/ops/disentangled_attention.js';
import { layerNorm } from '../../src/gpu/ops/layer_norm.js';
import { Dyn, type Tensor } from '../../src/gpu/tensor.js';
import { close, reduce, transcendental } from '../helpers/close.js';
import { output, read, runOnce, testGpu, upload } from '../helpers/gpu.js';
import { normals } from '../helpers/rng.js';
import * as twin from '../reference/encoder.js';

const grown32 = (a: Uint32Array, n: number): Uint32Array => { const b = new Uint32Array(n); b.set(a); return b; };
const grown = (a: Float32Array, n: number): Float32Array => { const b = new Float32Array(n); b.set(a); return b; };

const spread = Float32Array.from({ length: 4001 }, (_, i) => (i - 2000) / 250);
spread.set([0, -0, 1e-30, -1e-30, 40, -40, 1e30, -1e30, Math.SQRT2, -Math.SQRT2]);

t.test('erf: within 1e-7', async (t) => {
  const gpu = await testGpu();
  const probe = defineKernel({ name: 'probe erf', shader: 'test/probe', read: { x: 'E' }, write: { y: 'E' }, args: { E: 'u32' }, tune: { WG: 64 }, prelude: 'fn probed(x: f32) -> f32 { return erf(x); }', grid: ({ E, WG }) => Math.ceil(E! / WG!) });
  const y = output(gpu, 'y', [spread.length]);
  await runOnce(gpu, (p) => p.run(probe, { x: upload(gpu, 'x', [spread.length], spread), y }));
  close(t, 'erf', await read(y), Array.from(spread, twin.erf), { atol: 1e-7, rtol: 0, name: '1e-7' });
});

t.test('gelu: within two units in the last place and 5e-8; the tails are what they should be', async (t) => {
  const gpu = await testGpu();
  const y = upload(gpu, 'y', [1, spread.length], spread.slice());
  await runOnce(gpu, (p) => biasActivation(p, { y, b: output(gpu, 'b', [spread.length]) }, 'gelu'));
  const got = await read(y);
  const small = [...spread.keys()].filter((i) => Math.abs(spread[i]!) < 100);
  const off = Math.max(...small.map((i) => Math.abs(got[i]! - twin.gelu(spread[i]!)) - 2.4e-7 * Math.abs(twin.gelu(spread[i]!))));
  t.ok(off <= 5e-8, `${off} beyond two units`);
  t.equal(got[6], Math.fround(1e30));
  t.equal(Math.abs(got[7]!), 0);
});

t.test('the twin’s erf: published values', async (t) => {
  // Abramowitz & Stegun, table 7.1.
  for (const [x, value] of [[0, 0], [0.5, 0.5204998778], [1, 0.8427007929], [1.5, 0.9661051465], [2, 0.995322265]] as const) {
    t.ok(Math.abs(twin.erf(x) - value) < 6e-11 && twin.erf(-x) === -twin.erf(x));
  }
  t.ok(Math.abs(twin.erf(2.9999999) - twin.erf(3.0000001)) < 1e-10, 'series and fraction meet');
});

for (const [N, D] of [[1, 3], [7, 33], [5, 130]] as const) {
  t.test(`bias and activation, layer norm N=${N} D=${D} against the twins, at a capacity above N`, async (t) => {
    const gpu = await testGpu();
    const rows = new Dyn('N', N + 2);
    const [xs, bs, gains, biases] = [normals(N, N * D, 2), normals(N + 1, D), normals(N + 2, D), normals(N + 3, D)];
    const more = (): Float32Array => grown(xs, (N + 2) * D);
    const b = upload(gpu, 'b', [D], bs);
    const [gelu, tanh, x] = ['gelu', 'tanh', 'x'].map((name) => upload(gpu, name, [rows, D], more())) as [ReturnType<typeof upload>, ReturnType<typeof upload>, ReturnType<typeof upload>];
    const [gain, bias] = [upload(gpu, 'gain', [D], gains), upload(gpu, 'bias', [D], biases)];
    const [y, yb] = [output(gpu, 'y', [rows, D], 9), output(gpu, 'yb', [rows, D], 9)];
    await runOnce(gpu, (p) => {
      biasActivation(p, { y: gelu, b }, 'gelu');
      biasActivation(p, { y: tanh, b }, 'tanh');
      layerNorm(p, { x, gain, bias, y }, 1e-7);
      layerNorm(p, { x, b, gain, bias, y: yb }, 1e-7);
    }, { N });
    const shifted = xs.map((v, i) => Math.fround(v + bs[i % D]!));
    close(t, 'gelu', (await read(gelu)).subarray(0, N * D), Array.from(shifted, twin.gelu), transcendental, [N, D]);
    close(t, 'tanh', (await read(tanh)).subarray(0, N * D), Array.from(shifted, Math.tanh), transcendental, [N, D]);
    close(t, 'layer norm', (await read(y)).subarray(0, N * D), twin.layerNorm(xs, undefined, gains, biases, 1e-7), reduce(D), [N, D]);
    close(t, 'layer norm of x + b', (await read(yb)).subarray(0, N * D), twin.layerNorm(xs, bs, gains, biases, 1e-7), reduce(D), [N, D]);
    t.equal((await read(y))[N * D], 9, 'rows past N are not touched');
    t.equal((await read(gelu))[N * D], 0, 'nor those in place');
  });
}

for (const { H, C, lengths } of [{ H: 1, C: 4, lengths: [1] }, { H: 3, C: 5, lengths: [2, 9, 1, 30] }, { H: 4, C: 8, lengths: [13, 41, 70] }]) {
  t.test(`disentangled attention H=${H} C=${C}, sequences of ${lengths.join(', ')} rows`, async (t) => {
    const gpu = await testGpu();
    const [N, R, W] = [lengths.reduce((a, b) => a + b), 7, H * C];
    const rows = new Dyn('N', N + 2);
    const longest = Math.max(...lengths);
    const owner = lengths.flatMap((n, s) => new Array<number>(n).fill(s));
    const starts = lengths.map((_, s) => lengths.slice(0, s).reduce((a, b) => a + b, 0));
    // Runs and single steps, and not symmetric.
    const relative = Uint32Array.from({ length: 2 * longest - 1 }, (_, i) => (Math.abs(i - longest + 1) < 4 ? (i * 5) % R : Math.floor(i / 6) % R));
    const data = { q: normals(1, N * W), k: normals(2, N * W), v: normals(3, N * W), posKey: normals(4, R * W), posQuery: normals(5, R * W) };
    const up = (name: 'q' | 'k' | 'v') => upload(gpu, name, [rows, W], grown(data[name], (N + 2) * W));
    const o = output(gpu, 'o', [rows, W], 9);
    const scale = 1 / Math.sqrt(3 * C);
    const positions = { pos_key: upload(gpu, 'pos_key', [R, W], data.posKey), pos_query: upload(gpu, 'pos_query', [R, W], data.posQuery), relative: upload(gpu, 'relative', [relative.length], relative) };
    const run = async (rows: Dyn | number, part: (name: 'q' | 'k' | 'v') => Tensor, lengths: number[], o: Tensor): Promise<void> => {
      const tiles = queryTiles(lengths);
      const T = tiles.length / 4;
      const table = new Dyn('T', T + 1);
      const scratch = (name: string): Tensor => output(gpu, name, [rows, H * R], NaN);
      await runOnce(gpu, (p) => disentangledAttention(p, {
        q: part('q'), k: part('k'), v: part('v'), ...positions, c2p: scratch('c2p'), p2c: scratch('p2c'), tiles: upload(gpu, 'tiles', [table, 4], grown32(tiles, 4 * (T + 1))), o,
      }, { H, C, scale, first: 0, count: R }), { N, T });
    };
    await run(rows, up, lengths, o);
    const want = twin.disentangledAttention(data, { N, H, C, scale, same: (i, j) => owner[i] === owner[j], r: (i, j) => relative[longest - 1 + i - j]! });
    const got = await read(o);
    close(t, 'o', got.subarray(0, N * W), want, reduce(longest), [N, H, C]);
    t.equal(got[N * W], 9, 'rows past N are not touched');
    // The last sequence alone, at another place: the same bits.
    const first = starts.at(-1)!;
    const n = lengths.at(-1)!;
    const alone = output(gpu, 'alone', [n, W]);
    await run(n, (name) => upload(gpu, name, [n, W], data[name].slice(first * W)), [n], alone);
    t.same([...(await read(alone))], [...got.subarray(first * W, (first + n) * W)], 'alone: the same bits');
  });
}
