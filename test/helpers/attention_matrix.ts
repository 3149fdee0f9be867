import t from 'tap';
import { matrixTile, type MatrixTile } from '../../src/gpu/matrices.js';
import { OperandStore } from '../../src/gpu/operand_store.js';
import { attention, attentionBackward } from '../../src/gpu/ops/attention.js';
import type { AttentionTile } from '../../src/gpu/ops/attention_matrix_tile.js';
import { TILE_ROWS, type AttentionPass } from '../../src/gpu/ops/attention_tiles.js';
import { packedBytes } from '../../src/gpu/ops/operand_layout.js';
import { debugReadU32 } from '../../src/gpu/readback.js';
import { Dyn, type Extent, type Tensor } from '../../src/gpu/tensor.js';
import { pack, type Document } from '../../src/model/batch/pack.js';
import { output, read, runOnce, testGpu, upload } from './gpu.js';
import { normals } from './rng.js';

/* Attention in matrices, forward and backward, of documents and given numbers. */
const gpu = await testGpu();
const found = matrixTile(gpu);
const SLOTS = { q: 0, k: 1, v: 2, dout: 3, ds: 4 };
export const SCALES = [4, 0.5, 2, 256, 64];

export interface Case { H: number; G: number; C: number; docs: Document[]; window?: number; softCap?: number; tile?: AttentionTile; choice?: Partial<Record<AttentionPass, AttentionTile>> }
export interface Given { q: Float32Array; k: Float32Array; v: Float32Array; dout: Float32Array }

function store(tile: MatrixTile, rows: number, columns: number): OperandStore {
  const s = new OperandStore(gpu, tile, 5, [{ bytes: packedBytes(rows + TILE_ROWS, columns, tile), count: 4 }], true);
  s.scales.write(Float32Array.from(SCALES));
  s.lossScale!.write(Float32Array.of(4096, 0, 0, 0));
  return s;
}

/** Forward and backward in matrices; rows past N are NaN. */
export async function compute({ H, G, C, docs, window = 0, softCap = 0, tile, choice }: Case, x: Given, measure = 0): Promise<Record<'o' | 'lse' | 'dq' | 'dk' | 'dv', Float32Array> & { labels: number; scales: Float32Array; peaks: Float32Array }> {
  const batch = pack(docs);
  const { N, tiles: T } = batch.values;
  const rows = new Dyn('N', N + 3);
  const place = (label: string, width: number, data: Float32Array): Tensor => upload(gpu, label, [rows, width], Float32Array.from({ length: (N + 3) * width }, (_, i) => data[i] ?? NaN));
  const [q, k, v, dout] = [place('q', H * C, x.q), place('k', G * C, x.k), place('v', G * C, x.v), place('do', H * C, x.dout)];
  const u32 = (label: string, shape: Extent[], data: Uint32Array, length: number): Tensor => upload(gpu, label, shape, Uint32Array.from({ length }, (_, i) => data[i] ?? 0));
  const [span, position, tiles] = [u32('span', [rows, 4], batch.span, 4 * (N + 3)), u32('position', [rows], batch.position, N + 3), u32('tiles', [new Dyn('tiles', T + 2), 8], batch.tiles, 8 * (T + 2))];
  const [o, dq, dk, dv] = ([['o', H], ['dq', H], ['dk', G], ['dv', G]] as const).map(([label, heads]) => output(gpu, label, [rows, heads * C], 5)) as [Tensor, Tensor, Tensor, Tensor];
  const [lse, delta] = [output(gpu, 'lse', [rows, H], 5), output(gpu, 'delta', [rows, H])];
  const s = store(found as MatrixTile, N + 3, H * C);
  let labels = 0;
  await runOnce(gpu, (p) => p.mixed(s, () => {
    const options = { H, G, C, scale: 1 / Math.sqrt(C), softCap, window, slots: SLOTS, ...(tile ? { choice: { fwd: tile, dq: tile, dkv: tile } } : choice ? { choice } : {}) };
    attention(p, { q, k, v, span, position, tiles, o, lse }, options);
    attentionBackward(p, { q, k, v, span, position, tiles, o, lse, do: dout, delta, dq, dk, dv }, options);
    labels = p.length;
  }), { N, tiles: T, measureScales: measure });
  const result = Object.fromEntries(await Promise.all(Object.entries({ o, lse, dq, dk, dv }).map(async ([name, tensor]) => {
    const all = await read(tensor);
    const end = (all.length / (N + 3)) * N;
    t.ok(all.subarray(end).every((y) => y === 5), `${name}: rows past N are not touched`);
    return [name, all.slice(0, end)];
  }))) as Record<'o' | 'lse' | 'dq' | 'dk' | 'dv', Float32Array>;
  const peaks = new Float32Array((await debugReadU32(s.peaks!)).buffer as ArrayBuffer);
  const scales = await read(s.scales);
  for (const tensor of [q, k, v, dout, span, position, tiles, o, dq, dk, dv, lse, delta]) tensor.destroy();
  s.destroy();
  return { ...result, labels, scales, peaks };
}

export const given = (N: number, { H, G, C }: Case, seed = 1): Given => ({ q: normals(seed, N * H * C), k: normals(seed + 1, N * G * C), v: normals(seed + 2, N * G * C), dout: normals(seed + 3, N * H * C) });
