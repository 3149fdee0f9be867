import { perThread } from '../grid.js';
import { defineKernel, type Kernel } from '../kernel.js';
import type { MatrixTile } from '../matrices.js';
import { formatOf } from '../packed.js';
import type { ArgValue, Program } from '../program.js';
import { capacityOf, Dyn, type Tensor } from '../tensor.js';
import { weightBindings, weightCode } from './weights.js';

/*
 * Operands of matmul_matrix.ts: f32 -> f16 times a power of two, rows and columns padded to tiles with zeros. Weights are packed when they have changed, other
 * operands where a product is recorded, unless they stand packed already.
 */

/** A weight's f16 copy [rows, width] with its padding, and the slots of the scales its products use. */
export interface MatrixWeight {
  packed: Tensor;
  rows: number;
  inner: number;
  slots: { weight: number; input: number; gradient: number };
}

/** The slots of the scales of one layer's attention: what it multiplies, and the gradients of its output and of its scores. */
export interface AttentionSlots { q: number; k: number; v: number; dout: number; ds: number }

/** Where a program's matrix products find their operands; made by model/operands.ts. */
export interface MatrixOperands {
  tile: MatrixTile;
  /** [slots]: the power of two each operand is multiplied by. */
  scales: Tensor;
  /** Largest magnitudes of the gradient operands since the last optimiser step, as bits; absent where none is trained. */
  peaks: Tensor | undefined;
  lossScale: Tensor | undefined;
  /** By the weight's value or gradient. */
  weight(of: Tensor): MatrixWeight | undefined;
  /** By the value of the layer's query weight. */
  attention(queryWeight: Tensor): AttentionSlots | undefined;
  /** A buffer for `bytes` of packed operand that none of `busy` uses. */
  scratch(bytes: number, busy: GPUBuffer[]): Tensor;
  /** A packed operand is used again: it should stand for longer. */
  touch(packed: Tensor): void;
}

/** Rows and columns of operands are padded to this. */
export const padOf = (t: MatrixTile): number => Math.max(t.BM, t.BN, t.BK);
export const padded = (n: number, t: MatrixTile): number => Math.ceil(n / padOf(t)) * padOf(t);
/** Bytes of a packed operand. */
export const packedBytes = (rows: number, columns: number, t: MatrixTile): number => 2 * padded(rows, t) * padded(columns, t);

const WATCH = `fn watch(peak: u32) {
  let m = subgroupMax(peak);
  if (subgroupElect() && m > 0u) { atomicMax(&peaks[args.slot], m); }
}`;
/** |x| as bits, 0 where it is not finite. */
const MAGNITUDE = 'fn magnitude(x: f32) -> u32 { let u = bitcast<u32>(x) & 0x7fffffffu; return select(u, 0u, u >= 0x7f800000u); }';
/** `magnitude` and `watch`, for a kernel whose argument `slot` is that of the scale. */
export const WATCHED = `${MAGNITUDE}\n${WATCH}`;
const UNWATCHED = 'fn magnitude(x: f32) -> u32 { return 0u; }\nfn watch(peak: u32) {}';
const packArgs = { M: 'u32', I: 'u32', Y: 'u32', W: 'u32', slot: 'u32' } as const;
const packGrid = ({ M, W, TILE, WG }: Record<string, number>): number => perThread(Math.ceil(M! / TILE!) * TILE! * W!, WG!);

const pack = defineKernel({
  name: 'pack_f16',
  read: { x: '_ Y', scales: 'K' },
  write: { packed: '_ :vec4<u32>' },
  args: packArgs,
  tune: { WG: 64, TILE: 128 },
  prelude: `${UNWATCHED}\n${weightCode('x', 'f32')}`,
  grid: packGrid,
});
/** From frozen weights kept in 16 bits. */
const packHalf = (format: 'f16' | 'bf16'): Kernel => defineKernel({ ...pack, name: `pack_f16.${format}`, shader: 'pack_f16', read: { ...weightBindings('x', '_ Y', format), scales: 'K' }, prelude: `${UNWATCHED}\n${weightCode('x', format)}` });
const packFrom = { f32: pack, f16: packHalf('f16'), bf16: packHalf('bf16') };
const packWatched = defineKernel({ ...pack, name: 'pack_f16.watched', shader: 'pack_f16', update: { peaks: 'K :atomic<u32>' }, prelude: `${WATCHED}\n${weightCode('x', 'f32')}` });
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

/** A packed operand: its tensor and the vec4s of a row. */
export interface Operand { packed: Tensor; stride: number }

const columnsOf = (t: Tensor): number => t.shape[1] as number;

/** Records setting a gradient's scale from its peak, in a replay that measures. */
export function scaleMeasured(p: Program, slot: number): void {
  const { peaks, lossScale, scales } = p.operands!;
  p.run(scaleNow, { peaks: peaks!, loss_scale: lossScale!, scales }, { slot, measure: new Dyn('measureScales', 0) });
}

/** Packs x [M, I of Y columns] unless this program holds it packed already; `busy` are operands still wanted, `extraRows` may be read behind the last one. */
export function operand(p: Program, x: Tensor, slot: number, o: { columns?: number; busy?: Operand[]; gradient?: boolean; extraRows?: number }): Operand {
  const ops = p.operands!;
  const columns = o.columns ?? columnsOf(x);
  const stride = padded(columns, ops.tile) / 8;
  const key = `${slot} ${columns} ${x.shape.map((e) => (typeof e === 'number' ? e : `${e.name}*${e.factor}`)).join()}`;
  const held = p.heldOperand(x.buffer, key);
  if (held) {
    ops.touch(held);
    return { packed: held, stride };
  }
  const rows = x.shape[0]!;
  const packed = ops.scratch(packedBytes(capacityOf(rows) + (o.extraRows ?? 0), columns, ops.tile), (o.busy ?? []).map((b) => b.packed.buffer));
  const M: ArgValue = rows;
  const args = { M, I: columns, Y: columnsOf(x), slot };
  if (o.gradient && ops.peaks) {
    p.run(absmax, { x, peaks: ops.peaks }, { ...args, measure: new Dyn('measureScales', 0) });
    scaleMeasured(p, slot);
  }
  p.run(o.gradient && ops.peaks ? packWatched : pack, { x, scales: ops.scales, packed, ...(o.gradient && ops.peaks ? { peaks: ops.peaks } : {}) }, { ...args, W: stride }, { tune: { TILE: padOf(ops.tile) } });
  p.holdOperand(x.buffer, key, packed);
  return { packed, stride };
}

/** Can a weight in this format have an f16 copy? Those of 8 and 4 bits would lose what they save. */
export const hasCopy = (value: Tensor): boolean => formatOf(value) in packFrom;

/** Records the making of a weight's f16 copy from its values [rows, inner]. */
export function packWeight(p: Program, value: Tensor, w: MatrixWeight, o: { tile: MatrixTile; scales: Tensor }): void {
  p.run(packFrom[formatOf(value) as keyof typeof packFrom], { x: value, scales: o.scales, packed: w.packed.as([w.packed.elements]) }, { M: w.rows, I: w.inner, Y: w.inner, W: padded(w.inner, o.tile) / 8, slot: w.slots.weight }, { tune: { TILE: padOf(o.tile) } });
}
