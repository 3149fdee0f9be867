import type { Gpu } from './device.js';
import { matrixConfig, matrixRefusal, tileFor, type MatrixTile } from './matrices.js';
import { OperandStore } from './operand_store.js';
import { matmulNN, matmulNT, matmulTN, plainForm } from './ops/matmul.js';
import { plainRefusal, threadsOf, USUAL_LARGE, type PlainTile } from './ops/matmul_tiled.js';
import { packedBytes } from './ops/operand_layout.js';
import { Program } from './program.js';
import { Tensor } from './tensor.js';
import { timeProgram } from './timing.js';
import { ATTENTION_PASSES, attentionCandidates, attentionName, HEADS, timeAttention } from './tune_attention.js';
import type { Tuned } from './tuned.js';

type Layout = 'nt' | 'nn' | 'tn';
const LAYOUTS: Layout[] = ['nt', 'nn', 'tn'];
/** Rows x outputs x inputs. */
type Shape = [number, number, number];

/** Attention and MLP matrices of a model of 0.5 billion parameters under a usual budget; on a processor just enough to run. */
const SHAPES: Record<'hardware' | 'software', Shape[]> = { hardware: [[8192, 896, 896], [8192, 4864, 896]], software: [[32, 16, 24]] };
/** A candidate is given up once it is this much slower than the best so far. */
const HOPELESS = 1.3;
/** A choice must gain this much: less is noise. */
const WORTH = 0.98;

/** A tile that was tried: its time over the usual one's, the geometric mean over shapes and forms (attention: one shape); absent where it was given up. */
export interface TriedTile {
  /** Products in matrices, plain ones, or a pass of attention with the width of its heads. */
  products: string;
  tile: string;
  relative?: number;
  usual: boolean;
  chosen: boolean;
}

const matrixName = (t: MatrixTile): string => `${t.BM}x${t.BN}x${t.BK}/${t.WM}x${t.WN}`;
const plainName = (t: PlainTile): string => `${t.BM}x${t.BN}x${t.BK}/${t.RM}x${t.RN}`;

/** One product on tensors of its own, timed; with `tile` in f16 matrices, packing left out where the adapter has timestamps. Milliseconds. */
async function timeProduct(gpu: Gpu, layout: Layout, [M, O, I]: Shape, runs: number, tile?: MatrixTile): Promise<number> {
  const tensors: Array<{ destroy(): void }> = [];
  const make = (rows: number, columns: number): Tensor => {
    const t = new Tensor(gpu, 'tune', [rows, columns]);
    t.write(Float32Array.from({ length: t.elements }, (_, i) => ((i * 37) % 101) / 101 - 0.5));
    tensors.push(t);
    return t;
  };
  const [wide, narrow, w] = [make(M, I), make(M, O), make(O, I)];
  const store = tile && new OperandStore(gpu, tile, 3, [{ bytes: packedBytes(M, Math.max(O, I), tile), count: 2 }], false);
  store?.add(w, undefined, { weight: 0, input: 1, gradient: 2 });
  if (store) tensors.push(store);
  const program = new Program(gpu, 'tune');
  program.mixed(store, () => {
    if (layout === 'nt') matmulNT(program, { x: wide, w, y: narrow });
    else if (layout === 'nn') matmulNN(program, { x: narrow, w, y: wide });
    else matmulTN(program, { a: narrow, b: wide, y: w });
  });
  const { ms } = await timeProgram(gpu, program, runs, { values: { measureScales: 0 }, only: /matmul\./ });
  for (const t of tensors) t.destroy();
  return ms;
}

/** Tries `candidates` (the usual one first) on every case, which gives a candidate's milliseconds. */
async function tryTiles<T>(products: string, candidates: T[], name: (t: T) => string, cases: Array<(t: T) => Promise<number>>, done: () => void): Promise<{ tried: TriedTile[]; best: T | undefined }> {
  const usual: number[] = [];
  const first: T = candidates[0]!;
  let best = first;
  let least = 1;
  const tried: TriedTile[] = [];
  for (const [i, candidate] of candidates.entries()) {
    const logs: number[] = [];
    const mean = (): number => Math.exp(logs.reduce((n, x) => n + x, 0) / logs.length);
    for (const time of cases) {
      if (logs.length > 0 && mean() > HOPELESS * least) continue;
      const ms = await time(candidate);
      if (i === 0) usual.push(ms);
      logs.push(Math.log(ms / usual[logs.length]!));
    }
    const whole = logs.length === usual.length;
    tried.push({ products, tile: name(candidate), ...(whole ? { relative: mean() } : {}), usual: i === 0, chosen: false });
    if (whole && mean() < least) {
      best = candidate;
      least = mean();
    }
    done();
  }
  // The best of many is lucky, too, and the clock of the usual one may have begun high: both once more, side by side.
  const again: number[] = [];
  if (least < WORTH) for (const time of cases) again.push(Math.log((await time(best)) / (await time(first))));
  const chosen = again.length > 0 && Math.exp(again.reduce((n, x) => n + x, 0) / again.length) < WORTH ? best : first;
  tried[candidates.indexOf(chosen)]!.chosen = true;
  return { tried, best: chosen === first ? undefined : chosen };
}

function matrixCandidates(gpu: Gpu): MatrixTile[] {
  const config = matrixConfig(gpu);
  if (typeof config === 'string') return [];
  const usual = tileFor(config, gpu.limits);
  const { MM, MN, MK } = config;
  // A processor's driver takes a second for every matrix of a tile. Tiles up to 128 need no more room for padding than memory plans count, and 128 columns hold
  // whole heads, which are turned where their product is made (result_rows.ts): narrower ones would keep queries and keys in f32 beside.
  const sizes = gpu.kind === 'hardware'
    ? [64, 128].flatMap((BM) => [16, 32, 64].flatMap((BK) => [[1, 2], [2, 1], [2, 2], [2, 4], [4, 2]].map(([WM, WN]) => ({ BM, BN: 128, BK, WM: WM!, WN: WN! }))))
    : [{ BM: 2 * MM, BN: MN, BK: MK, WM: 1, WN: 1 }, { BM: 2 * MM, BN: 2 * MN, BK: 2 * MK, WM: 2, WN: 1 }];
  const all = sizes.map((s) => ({ ...config, ...s })).filter((t) => matrixRefusal(t, gpu.limits) === undefined && matrixName(t) !== matrixName(usual));
  return [usual, ...all];
}

function plainCandidates(gpu: Gpu): PlainTile[] {
  if (plainForm(gpu) !== 'tiled') return [];
  const sizes = gpu.kind === 'hardware'
    ? [64, 128].flatMap((BM) => [64, 128].flatMap((BN) => [8, 16, 32].flatMap((BK) => [[1, 2], [2, 1], [2, 2], [2, 4], [4, 2]].map(([RM, RN]) => ({ BM, BN, BK, RM: RM!, RN: RN! })))))
    : [{ BM: 32, BN: 32, BK: 4, RM: 1, RN: 1 }];
  return [USUAL_LARGE, ...sizes.filter((t) => threadsOf(t) <= 256 && plainRefusal(t, gpu.limits) === undefined && plainName(t) !== plainName(USUAL_LARGE))];
}

/**
 * Measures the tiles that matter on this adapter: of products and attention in f16 matrices where it has them, and of large plain products where those are tiled. Results do not
 * depend on them (a sum runs in one order whatever the tile), so neither caches nor checkpoints do.
 * @param progress told how many tiles of how many are through
 */
export async function tune(gpu: Gpu, progress: (done: number, of: number) => void, runs = 3): Promise<{ tuned: Tuned; tried: TriedTile[] }> {
  gpu.tuned = undefined;
  const kind = gpu.kind === 'hardware' ? 'hardware' : 'software';
  const products = SHAPES[kind].flatMap((shape) => LAYOUTS.map((layout) => ({ shape, layout })));
  const [matrices, plains] = [matrixCandidates(gpu), plainCandidates(gpu)];
  const config = matrixConfig(gpu);
  const attention = typeof config === 'string' ? [] : HEADS[kind].flatMap((heads) => ATTENTION_PASSES.map((pass) => ({ heads, pass, tiles: attentionCandidates(gpu, pass, heads[2], tileFor(config, gpu.limits)) }))).filter(({ tiles }) => tiles.length > 1);
  let through = 0;
  const all = matrices.length + plains.length + attention.reduce((n, a) => n + a.tiles.length, 0);
  const done = (): void => progress(++through, all);
  const tuned: Tuned = {};
  const tried: TriedTile[] = [];
  if (matrices.length > 0) {
    const m = await tryTiles('matrix', matrices, matrixName, products.map(({ shape, layout }) => (tile) => timeProduct(gpu, layout, shape, runs, tile)), done);
    tried.push(...m.tried);
    if (m.best) tuned.matrix = { BM: m.best.BM, BN: m.best.BN, BK: m.best.BK, WM: m.best.WM, WN: m.best.WN };
  }
  if (plains.length > 0) {
    const before = gpu.products;
    const p = await tryTiles('plain', plains, plainName, products.map(({ shape, layout }) => (tile) => {
      gpu.products = { form: 'tiled', tile };
      return timeProduct(gpu, layout, shape, runs);
    }), done);
    gpu.products = before;
    tried.push(...p.tried);
    if (p.best) tuned.plain = p.best;
  }
  for (const { heads, pass, tiles } of attention) {
    const a = await tryTiles(`${pass} ${heads[2]}`, tiles, attentionName, [(tile) => timeAttention(gpu, pass, heads, tile, runs)], done);
    tried.push(...a.tried);
    if (a.best) tuned.attention = { ...tuned.attention, [heads[2]]: { ...tuned.attention?.[heads[2]], [pass]: a.best } };
  }
  return { tuned, tried };
}
