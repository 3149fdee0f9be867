import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import t from 'tap';
import { matrixConfig, matrixRefusal, matrixTile, tileFor, type MatrixTile } from '../../src/gpu/matrices.js';
import { OperandStore } from '../../src/gpu/operand_store.js';
import { matmulNN, matmulNT, matmulTN } from '../../src/gpu/ops/matmul.js';
import { tiledPlan, type PlainTile } from '../../src/gpu/ops/matmul_tiled.js';
import { packedBytes } from '../../src/gpu/ops/operand_layout.js';
import { Program } from '../../src/gpu/program.js';
import { readTuned, tunedPath, writeTuned } from '../../src/gpu/tuned.js';
import { edpo, tinyFolder, tinyPairs } from '../helpers/cli.js';
import { read, testGpu, upload } from '../helpers/gpu.js';
import { normals } from '../helpers/rng.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-tuned-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
process.env['XDG_CACHE_HOME'] = join(dir, 'cache');
const gpu = await testGpu();
const config = matrixConfig(gpu);

/** The three products of a linear layer at an odd shape, in f16 matrices or plain. */
async function products([M, O, I]: [number, number, number], tile?: MatrixTile): Promise<Float32Array[]> {
  const [x, dy, w] = [upload(gpu, 'x', [M, I], normals(1, M * I)), upload(gpu, 'dy', [M, O], normals(2, M * O)), upload(gpu, 'w', [O, I], normals(3, O * I))];
  const [y, dx, dw] = [upload(gpu, 'y', [M, O], new Float32Array(M * O)), upload(gpu, 'dx', [M, I], new Float32Array(M * I)), upload(gpu, 'dw', [O, I], new Float32Array(O * I))];
  const store = tile && new OperandStore(gpu, tile, 3, [{ bytes: packedBytes(M, Math.max(O, I), tile), count: 4 }], false);
  const weight = store?.add(w, dw, { weight: 0, input: 1, gradient: 2 });
  const p = new Program(gpu, 'products');
  if (store && weight) store.pack(p, [w]);
  p.mixed(store, () => {
    matmulNT(p, { x, w, y });
    matmulNN(p, { x: dy, w, y: dx });
    matmulTN(p, { a: dy, b: x, y: dw });
  });
  await p.submit({ measureScales: 0 });
  const out = await Promise.all([y, dx, dw].map((z) => read(z)));
  for (const z of [x, dy, w, y, dx, dw]) z.destroy();
  store?.destroy();
  return out as Float32Array[];
}

t.test('products in matrices have the same bits whatever the tile', async (t) => {
  if (typeof config === 'string') return t.pass(`no subgroup matrices here: ${config}`);
  const usual = tileFor(config, gpu.limits);
  const want = await products([37, 21, 29], usual);
  t.ok(want.every((y) => y.some((v) => v !== 0)));
  for (const [a, b, k, wm, wn] of [[2, 1, 1, 1, 1], [1, 2, 2, 1, 1], [2, 2, 2, 2, 1]] as const) {
    const tile = { ...config, BM: a * config.MM, BN: b * config.MN, BK: k * config.MK, WM: wm, WN: wn };
    if (matrixRefusal(tile, gpu.limits)) t.fail(`${JSON.stringify(tile)}: ${matrixRefusal(tile, gpu.limits)}`);
    t.same(await products([37, 21, 29], tile), want, `${tile.BM}x${tile.BN}x${tile.BK}/${wm}x${wn}`);
  }
});

t.test('an adapter that binds fewer buffers than the kernels take has no matrices', async (t) => {
  if (typeof config === 'string') return t.pass(`no subgroup matrices here: ${config}`);
  const few = Object.assign(Object.create(gpu) as typeof gpu, { limits: { ...gpu.limits, storageBuffers: 8 } });
  t.equal(matrixTile(few), 'it binds 8 buffers, and kernels in matrices take up to 10');
});

t.test('plain tiled products too, also where dW is split into ranges', async (t) => {
  const tiles: PlainTile[] = [{ BM: 32, BN: 32, BK: 4, RM: 1, RN: 1 }, { BM: 64, BN: 32, BK: 8, RM: 2, RN: 1 }];
  t.ok(tiledPlan('tn', 9, 12, 1100).chunk < 1100, 'split');
  for (const forced of tiles) t.equal(tiledPlan('tn', 9, 12, 1100, { forced }).chunk, tiledPlan('tn', 9, 12, 1100).chunk, 'ranges do not follow the tile');
  const large = tiles[0]!;
  t.same(tiledPlan('nt', 10467, 4864, 896, { large }).tile, large, 'a tuned tile stands in the large one’s place');
  t.not(tiledPlan('nt', 512, 896, 896, { large }).tile, large, 'and only there');
  const before = gpu.products;
  const got: Float32Array[][] = [];
  for (const tile of tiles) {
    gpu.products = { form: 'tiled', tile };
    got.push(await products([1100, 9, 12]));
  }
  gpu.products = before;
  t.same(got[1], got[0]);
});

t.test('refusals of tiles', async (t) => {
  const m = { MM: 16, MN: 16, MK: 16, SG: 32 };
  const limits = { workgroupInvocations: 256, workgroupBytes: 32768 };
  const tile = { ...m, BM: 128, BN: 128, BK: 32, WM: 2, WN: 2 };
  t.equal(matrixRefusal(tile, limits), undefined);
  t.match(matrixRefusal({ ...tile, BM: 100 }, limits), /not made of matrices of 16x16x16/);
  t.match(matrixRefusal({ ...tile, WM: 4, WN: 4 }, limits), /512 lanes are over/);
  t.match(matrixRefusal({ ...tile, WM: 1, WN: 1 }, limits), /more than 128 sums/);
  t.match(matrixRefusal({ ...tile, BK: 64 }, limits), /bytes of workgroup memory are over/);
  t.match(matrixRefusal({ ...m, BM: 16, BN: 16, BK: 16, WM: 1, WN: 1, SG: 64 }, limits), /64 lanes do not load/);
});

t.test('the file: kept by adapter, driver and version; a broken one is named and not used', async (t) => {
  t.same(readTuned(gpu), {}, 'none yet');
  const plain: PlainTile = { BM: 64, BN: 64, BK: 8, RM: 2, RN: 2 };
  const path = writeTuned(gpu, { plain });
  t.equal(path, tunedPath(gpu));
  t.same(readTuned(gpu), { tuned: { plain } });
  const good = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
  for (const [text, why] of [
    ['{"adapter": ', /JSON/], [JSON.stringify({ ...good, plain: { BM: 64 } }), /plain\.BN/], [JSON.stringify({ ...good, tile: 3 }), /tile/], [JSON.stringify({ ...good, driver: 'another' }), /it is of .*another/],
    [JSON.stringify({ ...good, plain: { ...plain, BM: 48 } }), /BM must be a multiple of 32 RM/], [JSON.stringify({ ...good, matrix: { BM: 128, BN: 3, BK: 32, WM: 2, WN: 2 } }), typeof config === 'string' ? /it has no|llvmpipe computes/ : /not made of matrices/],
    [JSON.stringify({ ...good, attention: { wide: {} } }), /attention/], [JSON.stringify({ ...good, attention: { 64: { fwd: { BM: 3, BN: 64, WM: 1, WN: 1, PAD: 2, REG: 0 } } } }), typeof config === 'string' ? /it has no|llvmpipe computes/ : /does not fit heads of 64/],
  ] as const) {
    writeFileSync(path, text);
    const { tuned, problem } = readTuned(gpu);
    t.equal(tuned, undefined);
    t.match(problem, why);
    t.match(problem, /is no tune file of this adapter and is not used .*; edpo doctor --tune makes it anew/);
    t.ok(problem!.startsWith(path));
  }
  rmSync(path);
});

t.test('doctor --tune measures and keeps; runs take it, with the same bytes; a broken file is a warning', async (t) => {
  // A subgroup-matrix file is told by hand, so that the run below does not depend on what was faster today.
  const model = await tinyFolder(join(dir, 'model'));
  const data = tinyPairs(join(dir, 'train.jsonl'), 12);
  const dtype = typeof config === 'string' ? 'float32' : 'mixed_f16';
  const cache = (to: string): ReturnType<typeof edpo> => edpo(['precompute-ref', '--model_name_or_path', model, '--data_files', data, '--loss_type', 'epsilon_dpo', '--token_budget', '64', '--dtype', dtype, '--ref_cache', join(dir, to)]);
  const before = cache('before');
  t.equal(before.code, 0, before.err);
  const r = edpo(['doctor', '--tune', '--json']);
  t.equal(r.code, 0, r.err);
  const report = JSON.parse(r.out) as { tuned: object; tune: { file: string; tried: Array<{ products: string; usual: boolean; chosen: boolean }> } };
  const { file, tried } = report.tune;
  if (typeof config === 'string') t.match(r.err, /nothing to tune/);
  else for (const what of ['matrix', 'fwd 8', 'dq 8', 'dkv 8']) t.same(tried.filter((x) => x.products === what).map((x) => [x.usual, x.chosen]).flat().filter(Boolean).length, 2, `${what}: a usual tile and a chosen one`);
  const kept = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
  const choices = (k: Record<string, unknown>): object => Object.fromEntries(Object.entries(k).filter(([key]) => !['adapter', 'driver', 'edpo'].includes(key)));
  t.same(choices(kept), report.tuned);
  const matrix = typeof config === 'string' ? undefined : { BM: 2 * config.MM, BN: config.MN, BK: config.MK, WM: 1, WN: 1 };
  writeFileSync(file, JSON.stringify({ adapter: kept['adapter'], driver: kept['driver'], edpo: kept['edpo'], ...(matrix ? { matrix } : {}) }));
  t.same((JSON.parse(edpo(['doctor', '--json']).out) as { tuned: unknown }).tuned, matrix ? { matrix } : {});
  gpu.tuned = readTuned(gpu).tuned;
  if (matrix) t.match(matrixTile(gpu), matrix);
  gpu.tuned = undefined;
  const after = cache('after');
  t.equal(after.code, 0, after.err);
  t.notMatch(after.err, /tune file/);
  for (const f of readdirSync(join(dir, 'before'))) t.equal(readFileSync(join(dir, 'after', f)).toString('hex'), readFileSync(join(dir, 'before', f)).toString('hex'), f);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, 'not JSON');
  const broken = cache('broken');
  t.equal(broken.code, 0, broken.err);
  t.match(broken.err, /warning: .*\.json is no tune file of this adapter and is not used \(.*\); edpo doctor --tune makes it anew/);
});
