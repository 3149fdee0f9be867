import { perRow } from '../grid.js';
import { defineKernel } from '../kernel.js';
import { blockOf, type MatrixTile } from '../matrices.js';
import type { Program } from '../program.js';
import { Tensor } from '../tensor.js';
import { padded, padOf } from './operand_layout.js';

/*
 * The f16 copies of LoRA's adapters as operands of matmul_matrix.ts, with scales from their values as they stand. Their matrices are small and many, so a dispatch takes all
 * that lie in one buffer, by a table; the copies lie in one buffer too (`adapterExtent` says how far a product reads from where one begins).
 */

/** Elements of a segment that is no row. */
const SEGMENT = 4096;
/** vec4s that a workgroup packs. */
const CHUNK = 256;
/** The largest element of a copy, and what A can make of its input, are brought to at most this: f16 ends at 65,504. */
export const ADAPTER_TOP = 2 ** 14;
const NO_GAIN = 0xffffffff;

/** A matrix [rows, inner] that lies `offset` elements into its buffer, and where its copy goes: rows of `stride` vec4s, `to` vec4s into the buffer of copies; the slot of its scale. */
export interface AdapterMatrix { offset: number; rows: number; inner: number; to: number; stride: number; slot: number }

/** Rows of a copy: zeros from `rows` on, up to a whole step of the products' depth. */
const copyRows = (rows: number, t: MatrixTile): number => Math.ceil(rows / t.BK) * t.BK;
/** vec4s of a row of a copy, padded so too. */
export const copyStride = (inner: number, t: MatrixTile): number => copyRows(inner, t) / 8;
/** vec4s of a copy: it is padded to whole steps alone, since a rank is small beside a tile. */
export const copySize = (rows: number, inner: number, t: MatrixTile): number => copyRows(rows, t) * copyStride(inner, t);
/** vec4s that products may read from where a copy begins: tiles of whole rows and columns. What is behind a copy in them goes to results that are not kept. */
export function adapterExtent(rows: number, inner: number, t: MatrixTile): number {
  return padded(rows, t) * copyStride(inner, t) + padOf(t);
}

/** Tables of what lies in one buffer. */
export interface AdapterTables {
  /** [2 S] vec4<u32>; see adapter_bounds.wgsl. */
  segments: Tensor;
  /** [2 M] vec4<u32> and the matrix of each workgroup [C]; see adapter_copies.wgsl. */
  matrices: Tensor;
  chunks: Tensor;
}

/** Bytes of a matrix's part of the tables. */
export const adapterTableBytes = (rows: number, inner: number, bounded: boolean, t: MatrixTile): number =>
  32 * (bounded ? rows : Math.ceil((rows * inner) / SEGMENT)) + 32 + 4 * Math.ceil(copySize(rows, inner, t) / CHUNK);

/** What is to be known of a matrix: its largest magnitude at `bound`; where `made` is given also, behind that, what it makes of an input at most. */
export interface AdapterBound { matrix: AdapterMatrix; bound: number; made?: { gain: number | undefined; factor: number } | undefined }

const segmentsOf = ({ matrix: { rows, inner }, made }: AdapterBound): number => (made ? rows : Math.ceil((rows * inner) / SEGMENT));
const chunksOf = ({ rows, inner }: AdapterMatrix, t: MatrixTile): number => Math.ceil(copySize(rows, inner, t) / CHUNK);

/** Room for the tables; `writeAdapterTables` fills them. */
export function adapterTables(make: (label: string, elements: number) => Tensor, list: AdapterBound[], t: MatrixTile): AdapterTables {
  const segments = list.reduce((n, b) => n + segmentsOf(b), 0);
  const chunks = list.reduce((n, { matrix }) => n + chunksOf(matrix, t), 0);
  return { segments: make('adapter segments', 8 * segments), matrices: make('adapter matrices', 8 * list.length), chunks: make('adapter chunks', chunks) };
}

/** Fills the tables of adapterTables. A row that is bounded by itself is a segment; of others only the largest element counts. */
export function writeAdapterTables(to: AdapterTables, list: AdapterBound[], t: MatrixTile): void {
  const bits = (v: number): number => new Uint32Array(Float32Array.of(v).buffer)[0]!;
  const segments = list.flatMap((b) => {
    const { offset, rows, inner } = b.matrix;
    const each = b.made ? inner : SEGMENT;
    return Array.from({ length: segmentsOf(b) }, (_, i) => [offset + i * each, Math.min(each, rows * inner - i * each), b.bound, b.made?.gain ?? NO_GAIN, bits(b.made?.factor ?? 0), 0, 0, 0]).flat();
  });
  to.segments.write(Uint32Array.from(segments));
  let first = 0;
  const chunks: number[] = [];
  const matrices = list.flatMap(({ matrix: m }, i) => {
    const begin = first;
    const count = chunksOf(m, t);
    first += count;
    for (let c = 0; c < count; c++) chunks.push(i);
    return [m.offset, m.rows, m.inner, m.slot, m.to, m.stride, copyRows(m.rows, t), begin];
  });
  to.matrices.write(Uint32Array.from(matrices));
  to.chunks.write(Uint32Array.from(chunks));
}

const bounds = defineKernel({
  name: 'adapter_bounds',
  read: { w: '_', segments: '_ :vec4<u32>', gains: '_ :vec2f' },
  update: { bounds: '_ :atomic<u32>' },
  args: { S: 'u32' },
  tune: { WG: 64, NO_GAIN },
  grid: ({ S, WG, SG }) => perRow(S!, WG!, SG!),
});

const scales = defineKernel({
  name: 'adapter_scales',
  read: { targets: 'B :u32' },
  update: { scales: '_', bounds: 'B :u32' },
  args: { B: 'u32' },
  tune: { WG: 64, F_TOP: ADAPTER_TOP },
  grid: ({ B, WG }) => Math.ceil(B! / WG!),
});

const copies = defineKernel({
  name: 'adapter_copies',
  read: { w: '_', matrices: '_ :vec4<u32>', chunks: 'C :u32', scales: '_' },
  write: { packed: '_ :vec4<u32>' },
  args: { C: 'u32' },
  tune: { WG: CHUNK, BLOCK: 16 },
  grid: ({ C }) => C!,
});

/** bounds[b] = max(…, |w|) of every matrix in buffer `w`, and where asked bounds[b + 1] = max(…, factor times what it makes of an input at most). gains [2 …]: of pairs. */
export function adapterBounds(p: Program, t: { w: Tensor; tables: AdapterTables; gains: Tensor; bounds: Tensor }): void {
  p.run(bounds, { w: t.w.flat(), segments: t.tables.segments, gains: t.gains, bounds: t.bounds }, { S: t.tables.segments.elements / 8 });
}

/** scales[targets[b]] = the power of two that brings bounds[b] to at most ADAPTER_TOP, 1 for 0; bounds are zero again. targets, bounds [B]. */
export function adapterScales(p: Program, t: { targets: Tensor; bounds: Tensor; scales: Tensor }): void {
  p.run(scales, t);
}

/** The copies of every matrix in buffer `w`, in `packed`, by the scales as they stand. */
export function adapterCopies(p: Program, t: { w: Tensor; tables: AdapterTables; scales: Tensor; packed: Tensor }, tile: MatrixTile): void {
  p.run(copies, { w: t.w.flat(), matrices: t.tables.matrices, chunks: t.tables.chunks, scales: t.scales, packed: t.packed.flat() }, {}, { tune: { BLOCK: blockOf(tile) } });
}
