import type { Gpu } from '../device.js';
import { defineKernel, type Kernel } from '../kernel.js';
import { formatOf, type WeightFormat } from '../packed.js';
import { byFours } from '../paths.js';
import type { Program } from '../program.js';
import { capacityOf, type Tensor } from '../tensor.js';
import { rangeRows, splitRoom, splitSum } from './split_sum.js';
import { formatSuffix, weightBindings, weightCode, weightTensors } from './weights.js';

/*
 * The tiled form of matmul.ts's products, for GPUs: f32 all the way, both operands through workgroup memory, any size and every format of weights. Quads are read and
 * written where sizes are multiples of 4, single numbers otherwise, operand by operand. A row's sum runs over k in one order whatever the rows around it and whatever the tile.
 */

type Layout = 'nt' | 'nn' | 'tn';

/** A workgroup makes BM x BN in steps of BK, a thread RM x RN quads of 4 x 4. RM · 32 divides BM, RN · 32 BN. */
export interface PlainTile { BM: number; BN: number; BK: number; RM: number; RN: number }

const LARGE: PlainTile = { BM: 128, BN: 128, BK: 16, RM: 2, RN: 2 };
const SMALL: PlainTile = { BM: 64, BN: 64, BK: 16, RM: 2, RN: 2 };
/** Fewer large tiles than this leave a large GPU's processors without work. */
const LEAST_TILES = 256;

export const threadsOf = (t: PlainTile): number => (t.BM / 4 / t.RM) * (t.BN / 4 / t.RN);
export const plainBytes = (t: PlainTile): number => 4 * t.BK * (t.BM + t.BN);
/** Why a tile cannot be had within these limits, if it cannot. */
export function plainRefusal(t: PlainTile, limits: { workgroupInvocations: number; workgroupBytes: number }): string | undefined {
  const { BM, BN, BK, RM, RN } = t;
  if ([BM / (32 * RM), BN / (32 * RN)].some((n) => !Number.isInteger(n) || n < 1)) return 'BM must be a multiple of 32 RM and BN one of 32 RN';
  if (![4, 8, 16, 32].includes(BK)) return 'BK must be 4, 8, 16 or 32';
  if (threadsOf(t) > limits.workgroupInvocations) return `${threadsOf(t)} threads are over the adapter's ${limits.workgroupInvocations}`;
  if (plainBytes(t) > limits.workgroupBytes) return `${plainBytes(t)} bytes of workgroup memory are over the adapter's ${limits.workgroupBytes}`;
  return undefined;
}
const tilesOf = (t: PlainTile, rows: number, cols: number): number => Math.ceil(rows / t.BM) * Math.ceil(cols / t.BN);

/**
 * The tile of a product of rows x cols over `depth`, and of TN the rows of a range (as many as there are, or more, where it is not split). Bits do not depend
 * on the tile: ranges are those of the usual one. `rows` and `depth` may be capacities.
 * @param o a tile for all products, or in place of the usual large one (`edpo doctor --tune`)
 */
export function tiledPlan(layout: Layout, rows: number, cols: number, depth: number, o: { forced?: PlainTile | undefined; large?: PlainTile | undefined } = {}): { tile: PlainTile; chunk: number } {
  const chunkOf = (t: PlainTile): number => (layout === 'tn' ? rangeRows(tilesOf(t, rows, cols), depth, rows * cols) : depth);
  const large = rows > SMALL.BM && cols > SMALL.BN && tilesOf(LARGE, rows, cols) * Math.ceil(depth / chunkOf(LARGE)) >= LEAST_TILES;
  return { tile: o.forced ?? (large ? (o.large ?? LARGE) : SMALL), chunk: chunkOf(large ? LARGE : SMALL) };
}

/** The usual tile of large products. */
export const USUAL_LARGE = LARGE;

/** The constants of the shader. Steps are written out on a GPU alone: a processor's driver takes seconds to compile them. */
function plainTune(gpu: Gpu, t: PlainTile): Record<string, number> {
  const KB = t.BK / 4;
  const [QUADS_A, QUADS_B] = [t.BM / 4, t.BN / 4];
  const WG = threadsOf(t);
  return {
    ...t, WG, KB, QUADS_A, QUADS_B, SIZE_A: t.BK * QUADS_A, SIZE_B: t.BK * QUADS_B, BLOCKS_A: KB * QUADS_A, BLOCKS: KB * (QUADS_A + QUADS_B),
    ROUNDS: Math.ceil((KB * (QUADS_A + QUADS_B)) / WG), TX: QUADS_B / t.RN, TY: QUADS_A / t.RM, TWIST: 8 / KB, UNROLL: gpu.kind === 'hardware' ? KB : 1,
  };
}

type Start = '' | '_add' | '_acc';

/** An operand in its buffer: which of its axes is k, whether its rows start at `first`, its columns, and whether quads are read. */
interface Side { tensor: string; byK: boolean; first: boolean; columns: string; weight: WeightFormat | undefined; four: boolean }

/** `a_turned(a_block(m, k))`: column j of the matrix is the quad m ... m + 3 at k + j; zeros past the depth, anything past the edge of the tile's other axis. */
function side(name: 'a' | 'b', extent: string, s: Side): string {
  const read = (at: string): string => (s.weight ? `weight(${at})` : `${s.tensor}[${at}]`);
  const row = (r: string): string => (s.first ? `args.first + ${r}` : r);
  const quads = `QUADS_${name.toUpperCase()}`;
  const each = (f: (j: string) => string): string => [0, 1, 2, 3].map((j) => f(j === 0 ? '' : ` + ${j}u`)).join(', ');
  if (s.byK) {
    const values = s.four
      ? read(`(row * args.${s.columns} + min(m, args.${s.columns} - 4u)) / 4u`)
      : `vec4f(${each((j) => read(`row * args.${s.columns} + min(m${j}, args.${s.columns} - 1u)`))})`;
    return `fn ${name}_c(id: u32) -> u32 { return id % ${quads}; }
fn ${name}_kb(id: u32) -> u32 { return id / ${quads}; }
fn ${name}_quad(m: u32, k: u32) -> vec4f {
  if (k >= depth()) { return vec4f(); }
  let row = ${row('k')};
  return ${s.weight === 'int8' ? `scaled(${values}, row)` : values};
}
fn ${name}_block(m: u32, k: u32) -> mat4x4f { return mat4x4f(${each((j) => `${name}_quad(m, k${j})`)}); }
fn ${name}_turned(v: mat4x4f) -> mat4x4f { return v; }`;
  }
  const values = s.four ? read('at / 4u') : `vec4f(${each((j) => `${name}_one(at${j}, k${j})`)})`;
  return `fn ${name}_c(id: u32) -> u32 { return id / KB; }
fn ${name}_kb(id: u32) -> u32 { return id % KB; }
${s.four ? '' : `fn ${name}_one(at: u32, k: u32) -> f32 {
  if (k >= depth()) { return 0.0; }
  return ${read('at')};
}`}
fn ${name}_quad(m: u32, k: u32) -> vec4f {
  let at = (${row(`min(m, ${extent} - 1u)`)}) * args.${s.columns} + k;
  return ${values};
}
fn ${name}_block(m: u32, k: u32) -> mat4x4f {
  if (k >= depth()) { return mat4x4f(); }
  return mat4x4f(${each((j) => `${name}_quad(m${j}, k)`)});
}
fn ${name}_turned(v: mat4x4f) -> mat4x4f { return transpose(v); }`;
}

interface Form { layout: Layout; start: Start; bias: boolean; split: boolean; format: WeightFormat; four: { a: boolean; b: boolean; y: boolean } }

const EXTENTS: Record<Layout, { rows: string; cols: string; depth: string }> = {
  nt: { rows: 'M', cols: 'count', depth: 'I' },
  nn: { rows: 'M', cols: 'I', depth: 'count' },
  tn: { rows: 'count', cols: 'I', depth: 'M' },
};

/** `put_y`: a quad of results to its place, what the sum starts from added, within the edges. */
function store({ layout, start, bias, split, format, four }: Form): string {
  const zero = four.y ? 'vec4f()' : '0.0';
  const from = { '': zero, _add: 'add[i]', _acc: 'y[i]' }[start];
  const row = split ? 'part * args.count + row' : layout === 'tn' ? 'args.first + row' : 'row';
  const width = layout === 'nt' ? 'Y' : 'I';
  const scale = layout === 'nt' && format === 'int8';
  return `fn put_y(row: u32, col: u32, part: u32, sum: vec4f) {
  if (row >= rows() || col >= cols()) { return; }
  let at = (${row}) * args.${width} + col;
  ${scale ? 'let o = args.first + col;\n  let v = sum * vec4f(row_scale(o), row_scale(min(o + 1u, args.first + args.count - 1u)), row_scale(min(o + 2u, args.first + args.count - 1u)), row_scale(min(o + 3u, args.first + args.count - 1u)));' : 'let v = sum;'}
  ${four.y ? `let i = at / 4u;\n  y[i] = start(i) + v${bias ? ' + bias[col / 4u]' : ''};` : `for (var j = 0u; j < 4u && col + j < cols(); j++) { y[at + j] = start(at + j) + v[j]${bias ? ' + bias[col + j]' : ''}; }`}
}
fn start(i: u32) -> ${four.y ? 'vec4f' : 'f32'} { return ${from}; }`;
}

function product(form: Form): Kernel {
  const { layout, start, bias, split, format, four } = form;
  const f = EXTENTS[layout];
  const type = (yes: boolean): string => (yes ? ':vec4f' : '');
  const plain = (tensor: string, columns: string, byK: boolean, quads: boolean): Side => ({ tensor, columns, byK, first: false, weight: undefined, four: quads });
  const a = layout === 'nt' ? plain('x', 'I', false, four.a) : layout === 'nn' ? plain('x', 'X', false, four.a) : plain('a', 'X', true, four.a);
  const b = layout === 'tn' ? plain('b', 'I', true, four.b) : { tensor: 'w', columns: 'I', byK: layout === 'nn', first: true, weight: format, four: four.b };
  const y = split ? { partial: true, shape: '_ ' } : { partial: false, shape: layout === 'nt' ? 'M Y' : layout === 'nn' ? 'M I' : 'O I' };
  return defineKernel({
    name: `matmul.tiled_${layout}${split ? '_split' : start}${bias ? '_bias' : ''}${formatSuffix(format)}${four.a && four.b && four.y ? '' : '_scalar'}`,
    shader: 'matmul.tiled',
    read: {
      [a.tensor]: `M ${a.columns}${type(four.a)}`,
      ...(layout === 'tn' ? { b: `M I${type(four.b)}` } : weightBindings('w', 'O I', format, four.b ? 4 : 1)),
      ...(start === '_add' ? { add: `M Y${type(four.y)}` } : {}),
      ...(bias ? { bias: `Y ${type(four.y)}` } : {}),
    },
    ...(start === '_acc' ? { update: { y: `${y.shape}${type(four.y)}` } } : { write: { y: `${y.shape}${type(four.y)}` } }),
    args: { M: 'u32', I: 'u32', ...(layout === 'nt' ? { Y: 'u32' } : { X: 'u32' }), first: 'u32', count: 'u32', ...(split ? { chunk: 'u32' } : {}) },
    prelude: [
      `fn rows() -> u32 { return args.${f.rows}; }`, `fn cols() -> u32 { return args.${f.cols}; }`, `fn depth() -> u32 { return args.${f.depth}; }`,
      `fn chunk() -> u32 { return ${split ? 'args.chunk' : 'depth()'}; }`,
      layout === 'tn' ? '' : weightCode('w', format, four.b ? 4 : 1), side('a', 'rows()', a), side('b', 'cols()', b), store(form),
    ].join('\n'),
    grid: (g) => Math.ceil(g[f.rows]! / g['BM']!) * Math.ceil(g[f.cols]! / g['BN']!) * (split ? Math.ceil(g['M']! / g['chunk']!) : 1),
  });
}

const made = new Map<string, Kernel>();
/** Kernels are made when they are wanted: there are many forms and a run uses few. */
function kernelOf(form: Form): Kernel {
  const key = JSON.stringify(form);
  const known = made.get(key) ?? product(form);
  made.set(key, known);
  return known;
}

const size = (t: Tensor, axis: number): number => t.shape[axis] as number;
const rowsOf = (t: Tensor): number => capacityOf(t.shape[0]!);

interface Range { first: number; count: number }

/** See matmulNT. */
export function tiledNT(p: Program, t: { x: Tensor; w: Tensor; y: Tensor }, range: Range, o: { add?: Tensor | undefined; bias?: Tensor | undefined; accumulate?: boolean | undefined }, forced?: PlainTile): void {
  const { x, w, y } = t;
  const { tile } = tiledPlan('nt', rowsOf(x), range.count, size(x, 1), { forced, large: p.gpu.tuned?.plain });
  const four = byFours(p.gpu, size(x, 1));
  const kernel = kernelOf({ layout: 'nt', start: o.add ? '_add' : o.accumulate ? '_acc' : '', bias: o.bias !== undefined, split: false, format: formatOf(w), four: { a: four, b: four, y: byFours(p.gpu, size(y, 1), range.count) } });
  p.run(kernel, { x, ...weightTensors('w', w), y, ...(o.add ? { add: o.add } : {}), ...(o.bias ? { bias: o.bias } : {}) }, { ...range }, { tune: plainTune(p.gpu, tile) });
}

/** See matmulNN. */
export function tiledNN(p: Program, t: { x: Tensor; w: Tensor; y: Tensor }, range: Range, o: { accumulate?: boolean | undefined }, forced?: PlainTile): void {
  const { x, w, y } = t;
  const { tile } = tiledPlan('nn', rowsOf(x), size(w, 1), range.count, { forced, large: p.gpu.tuned?.plain });
  const four = byFours(p.gpu, size(w, 1));
  const kernel = kernelOf({ layout: 'nn', start: o.accumulate ? '_acc' : '', bias: false, split: false, format: formatOf(w), four: { a: byFours(p.gpu, size(x, 1), range.count), b: four, y: four } });
  p.run(kernel, { x, ...weightTensors('w', w), y }, { ...range }, { tune: plainTune(p.gpu, tile) });
}

/** See matmulTN: in ranges of rows where there are too few tiles to fill a GPU. */
export function tiledTN(p: Program, t: { a: Tensor; b: Tensor; y: Tensor }, range: Range, forced?: PlainTile): void {
  const { a, b, y } = t;
  const [rows, I] = [rowsOf(a), size(y, 1)];
  const { tile, chunk } = tiledPlan('tn', range.count, I, rows, { forced, large: p.gpu.tuned?.plain });
  const split = chunk < rows && p.gpu.uses('split_sums');
  const room = split ? splitRoom(p.gpu, Math.ceil(rows / chunk) * range.count * I) : undefined;
  const four = byFours(p.gpu, I);
  const kernel = kernelOf({ layout: 'tn', start: split ? '' : '_acc', bias: false, split, format: 'f32', four: { a: byFours(p.gpu, size(a, 1)), b: four, y: four } });
  p.run(kernel, { a, b, y: room ?? y }, { ...range, ...(split ? { chunk } : {}) }, { tune: plainTune(p.gpu, tile) });
  if (room) splitSum(p, room, y, { M: a.shape[0]!, chunk, ...range });
}
