import { perThread } from '../grid.js';
import { defineKernel, type ArgType, type Kernel } from '../kernel.js';
import type { WeightFormat } from '../packed.js';
import { byFours } from '../paths.js';
import type { ArgValue, Program } from '../program.js';
import { capacityOf, Dyn, type Tensor } from '../tensor.js';
import { NOTED, notedTune, UNNOTED, type Filled } from './filled.js';
import { packedBytes, padded, padding } from './operand_layout.js';
import { perFormat, weightBindings, weightCode } from './weights.js';

/*
 * Operands of matmul_matrix.ts: f32 -> f16 times a power of two, rows and columns padded to tiles with zeros. They are packed where a product is recorded, unless they stand
 * packed already; weights by pack_weights.ts.
 */

const WATCH = `fn watch_at(slot: u32, peak: u32) {
  let m = subgroupMax(peak);
  if (subgroupElect() && m > 0u) { atomicMax(&peaks[slot], m); }
}
fn watch(peak: u32) { watch_at(args.slot, peak); }`;
/** |x| as bits, 0 where it is not finite. */
const MAGNITUDE = 'fn magnitude(x: f32) -> u32 { let u = bitcast<u32>(x) & 0x7fffffffu; return select(u, 0u, u >= 0x7f800000u); }';
/** `magnitude` and `watch`, for a kernel whose argument `slot` is that of the scale. */
export const WATCHED = `${MAGNITUDE}\n${WATCH}`;
/** The same where nothing is watched. */
export const UNWATCHED = 'fn magnitude(x: f32) -> u32 { return 0u; }\nfn watch(peak: u32) {}';
/** What lib/packed_lines tells of a row, where nothing is watched, and of its elements, where they go nowhere else. */
export const UNKEPT = 'fn also(row: u32, d: u32, v: vec4f) {}';
export const SEEN = `fn seen(peak: u32) {}\n${UNKEPT}`;

/** One thread per RUN vec4s of an operand; a kernel that only measures runs where scales are measured. */
export const packGrid = ({ M, W, TILE, WG, RUN, MEASURE, measure }: Record<string, number>): number => (MEASURE && !measure ? 0 : perThread(Math.ceil(M! / TILE!) * TILE! * W!, WG! * RUN!));
/** RUN of a watched kernel: every subgroup's largest magnitude goes to one address of the device, and such updates queue: for wide operands each thread looks at several vec4s first. */
export const watchedRun = (columns: number): number => (columns < 512 ? 1 : 8);

/** A kernel over lib/pack_f16, which writes an operand; its shader gives `four`. */
export const packKernel = (name: string, read: Record<string, string>, o: { shader?: string; prelude?: string; watched?: boolean; noted?: boolean; args?: Record<string, ArgType>; tune?: Record<string, number> } = {}): Kernel => defineKernel({
  name,
  shader: o.shader ?? name,
  read: { ...read, scales: 'K' },
  write: { packed: '_ :vec4<u32>' },
  ...(o.watched || o.noted ? { update: { ...(o.watched ? { peaks: 'K :atomic<u32>' } : {}), ...(o.noted ? { filled: '_ :atomic<u32>' } : {}) } } : {}),
  args: { M: 'u32', I: 'u32', Y: 'u32', W: 'u32', slot: 'u32', ...(o.noted ? { filled_tn: 'u32' } : {}), ...o.args },
  tune: { WG: 256, TILE: 128, BLOCK: 16, RUN: 1, MEASURE: 0, ...(o.noted ? { FM: 128, FK: 32 } : {}), ...o.tune },
  prelude: `${o.watched ? WATCHED : UNWATCHED}\n${o.noted ? NOTED : UNNOTED}\n${o.prelude ?? ''}`,
  grid: packGrid,
});

/** How an operand is read: by fours, or by elements where rows or columns are no whole fours; of a frozen weight the rows from `args.first` on. */
function reading(format: WeightFormat, n: 1 | 4): string {
  const row = format === 'f32' ? 'row' : '(args.first + row)';
  if (n === 4) {
    const v = `weight((${row} * args.Y + col) / 4u)`;
    return `fn four(row: u32, col: u32) -> vec4f { if (col >= args.I) { return vec4f(); } return ${v} * row_scale(${row}); }`;
  }
  const v = `weight(${row} * args.Y + col)`;
  return `fn one(row: u32, col: u32) -> f32 { if (col >= args.I) { return 0.0; } return ${v} * row_scale(${row}); }
fn four(row: u32, col: u32) -> vec4f { return vec4f(one(row, col), one(row, col + 1u), one(row, col + 2u), one(row, col + 3u)); }`;
}
const packs = (format: WeightFormat, watched = false): Record<1 | 4, Kernel> => {
  const by = (n: 1 | 4): Kernel => packKernel(`pack_f16${n === 4 ? '_vec4' : ''}${format === 'f32' ? '' : `.${format}`}${watched ? '.watched' : ''}`, weightBindings('x', '_ Y', format, n), {
    shader: 'pack_f16', prelude: [weightCode('x', format, n), reading(format, n)].join('\n'), watched, args: format === 'f32' ? {} : { first: 'u32' },
  });
  return { 1: by(1), 4: by(4) };
};
/** From f32, or from frozen weights in fewer bits. */
export const packFrom = perFormat((format) => packs(format));
const packWatched = packs('f32', true);
/** Row by row, for attention: its matrices may begin at any row. */
const inRows = (forms: Record<1 | 4, Kernel>): Record<1 | 4, Kernel> => {
  const of = (kernel: Kernel): Kernel => defineKernel({ ...kernel, name: `${kernel.name}.rows`, snippets: { 'lib/operand_layout': 'lib/operand_rows' } });
  return { 1: of(forms[1]), 4: of(forms[4]) };
};
const packInto = { blocks: { plain: packFrom.f32, watched: packWatched }, rows: { plain: inRows(packFrom.f32), watched: inRows(packWatched) } };
/** By fours where rows and columns are whole fours. */
export const by = (p: Program, ...sizes: number[]): 1 | 4 => (byFours(p.gpu, ...sizes) ? 4 : 1);

const absmax = defineKernel({
  name: 'absmax',
  read: { x: '_ Y' },
  update: { peaks: 'K :atomic<u32>' },
  args: { M: 'u32', I: 'u32', Y: 'u32', slot: 'u32', measure: 'u32' },
  tune: { WG: 64 },
  prelude: WATCHED,
  grid: ({ M, I, measure, WG }) => (measure ? perThread(M! * Math.ceil(I! / 8), WG!) : 0),
});
const scaleNow = defineKernel({
  name: 'scale_now',
  read: { peaks: 'K :u32', loss_scale: '4' },
  update: { scales: 'K' },
  args: { slot: 'u32', measure: 'u32' },
  grid: ({ measure }) => (measure ? 1 : 0),
});

/** A packed operand: its tensor and the vec4s of a row (lib/operand_layout.wgsl says where they stand). */
export interface Operand { packed: Tensor; stride: number }

const columnsOf = (t: Tensor): number => t.shape[1] as number;

/** Records setting a gradient's scale from its peak, in a replay that measures. */
export function scaleMeasured(p: Program, slot: number): void {
  const { peaks, lossScale, scales } = p.operands!;
  p.run(scaleNow, { peaks: peaks!, loss_scale: lossScale!, scales }, { slot, measure: new Dyn('measureScales', 0) });
}

/** What an operand is made for: columns that count, operands still wanted, whether its magnitudes are watched, rows that may be read behind the last one, the layout its kernel reads (`blocks` unless it says), a tensor of its own where it is to be kept. */
export interface OperandOptions { columns?: number; busy?: Operand[]; gradient?: boolean; extraRows?: number; layout?: keyof typeof packInto; into?: Tensor | undefined }

/** Room for x packed for `slot`: the tensor, its name among what the program holds, and the arguments of the kernel that fills it. */
export function operandRoom(p: Program, x: Tensor, slot: number, columns: number, o: OperandOptions): { key: string; packed: Tensor; args: Record<string, ArgValue>; stride: number } {
  const { tile } = p.operands!;
  const stride = padded(columns, tile) / 8;
  const bytes = packedBytes(capacityOf(x.shape[0]!) + (o.extraRows ?? 0), columns, tile);
  const packed = o.into ?? p.operands!.scratch(bytes, (o.busy ?? []).map((b) => b.packed.buffer)).as([bytes / 4]);
  return { key: keyOf(x, slot, columns, o), packed, stride, args: { M: x.shape[0]!, I: columns, Y: columnsOf(x), W: stride, slot } };
}
const keyOf = (x: Tensor, slot: number, columns: number, { layout = 'blocks' }: OperandOptions): string => `${layout} ${slot} ${columns} ${x.shape.map((e) => (typeof e === 'number' ? e : `${e.name}*${e.factor}`)).join()}`;

/** x packed for `slot`, where this program holds it so. */
export function heldOperand(p: Program, x: Tensor, slot: number, o: OperandOptions): Operand | undefined {
  const columns = o.columns ?? columnsOf(x);
  const packed = p.heldOperand(x, keyOf(x, slot, columns, o));
  return packed && { packed, stride: padded(columns, p.operands!.tile) / 8 };
}

/** Packs x [M, I of Y columns] unless this program holds it packed already. */
export function operand(p: Program, x: Tensor, slot: number, o: OperandOptions): Operand {
  const ops = p.operands!;
  const columns = o.columns ?? columnsOf(x);
  const held = heldOperand(p, x, slot, o);
  if (held) {
    ops.touch(held.packed);
    return held;
  }
  const { key, packed, stride, args } = operandRoom(p, x, slot, columns, o);
  const watched = o.gradient && ops.peaks;
  if (watched) {
    p.run(absmax, { x, peaks: ops.peaks! }, { ...args, measure: new Dyn('measureScales', 0) });
    scaleMeasured(p, slot);
  }
  p.run(packInto[o.layout ?? 'blocks'][watched ? 'watched' : 'plain'][by(p, columns, columnsOf(x))], { x, scales: ops.scales, packed, ...(watched ? { peaks: ops.peaks! } : {}) }, args, { tune: { ...padding(ops.tile), ...(watched ? { RUN: watchedRun(columns) } : {}) } });
  p.holdOperand(x, key, packed);
  return { packed, stride };
}

/**
 * Runs a `packKernel` that makes the operand x would be packed to; x itself is not written and stands as that operand alone. A gradient's kernel is a watched one,
 * which runs once more before where scales are measured. One that notes what it writes is given `filled`.
 */
export function writeOperand(p: Program, kernel: Kernel, from: Record<string, Tensor>, x: Tensor, slot: number, o: OperandOptions & { tune?: Record<string, number>; args?: Record<string, ArgValue>; filled?: Filled | undefined } = {}): void {
  const { tile, scales, peaks } = p.operands!;
  const { key, packed, args } = operandRoom(p, x, slot, o.columns ?? columnsOf(x), o);
  const tune = { ...o.tune, ...padding(tile), ...(o.filled ? notedTune(tile) : {}), ...(o.gradient ? { RUN: watchedRun(o.columns ?? columnsOf(x)) } : {}) };
  const tensors = { ...from, scales, packed, ...(o.gradient ? { peaks: peaks! } : {}), ...(o.filled ? { filled: o.filled.flags } : {}) };
  const own = { ...o.args, ...(o.filled ? { filled_tn: o.filled.tn } : {}) };
  if (o.gradient) {
    p.run(kernel, tensors, { ...args, ...own, measure: new Dyn('measureScales', 0) }, { tune: { ...tune, MEASURE: 1 } });
    scaleMeasured(p, slot);
  }
  p.run(kernel, tensors, { ...args, ...own }, { tune });
  p.holdOperand(x, key, packed, true);
}
