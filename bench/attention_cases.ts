import type { Gpu } from '../src/gpu/device.js';
import { matrixTile } from '../src/gpu/matrices.js';
import { OperandStore } from '../src/gpu/operand_store.js';
import { attention, attentionBackward, type AttentionOptions } from '../src/gpu/ops/attention.js';
import { attentionSharedBytes, attentionTile, attentionTileFits, matrixAttention, type AttentionTile } from '../src/gpu/ops/attention_matrix.js';
import { tiledTile } from '../src/gpu/ops/attention_tiled.js';
import { TILE_ROWS, type AttentionPass } from '../src/gpu/ops/attention_tiles.js';
import { packedBytes } from '../src/gpu/ops/pack_f16.js';
import type { Program } from '../src/gpu/program.js';
import { pack, type Document } from '../src/model/batch/pack.js';
import type { KernelCase, Make } from './kernels_cases.js';
import { visiblePairs } from './step_profile.js';

/** Pairs of documents like HH's, and long ones: prompt and both responses; heads, key/value heads, width of Qwen2.5-0.5B and gemma-2-2b. */
const LENGTHS = { 'HH-like': [150, 80], 'of 640': [256, 192] } as const;
const HEADS: Array<[H: number, G: number, C: number]> = [[14, 2, 64], [8, 4, 256]];
const PASSES: AttentionPass[] = ['fwd', 'dq', 'dkv'];
/** Products a pass makes of a pair of rows, head and column. */
const PRODUCTS: Record<AttentionPass, number> = { fwd: 2, dq: 3, dkv: 4 };
const SLOTS = { q: 0, k: 1, v: 2, dout: 3, ds: 4 };

/** Documents of one kind: about 16,384 rows on hardware, half of that for wide heads; a single short one on a processor. */
function documents(gpu: Gpu, [prompt, response]: readonly [number, number], C: number): Document[] {
  const by = gpu.kind === 'hardware' ? 1 : 8;
  const [P, R] = [Math.ceil(prompt / by), Math.ceil(response / by)];
  const count = gpu.kind === 'hardware' ? Math.round((C > 128 ? 8192 : 16384) / (P + 2 * R)) : 1;
  return Array.from({ length: count }, (_, id) => ({ id, prompt: new Array<number>(P).fill(1), branches: [new Array<number>(R).fill(2), new Array<number>(R).fill(3)] }));
}

/** Other tiles of a pass than the chosen one. */
function otherTiles(gpu: Gpu, pass: AttentionPass, C: number): AttentionTile[] {
  const m = matrixTile(gpu);
  if (typeof m === 'string' || gpu.kind !== 'hardware') return [];
  const chosen = attentionTile(pass, C, m, gpu.limits);
  const found: AttentionTile[] = [];
  for (const [WM, WN] of [[4, 1], [2, 2], [2, 1], [1, 2], [4, 2], [8, 1], [1, 4]] as const) for (const BM of [16, 32, 64]) for (const BN of [16, 32, 64]) for (const REG of [0, 1]) {
    const tile = { BM, BN, WM, WN, PAD: 2, REG };
    // Registers of a lane: sums, scores, and what stays of the tile's own operands.
    const lane = (m.MM * m.MN) / m.SG;
    const own = pass === 'fwd' ? 1 : 2;
    const sums = (BM / WM / m.MM) * ((pass === 'dkv' ? 2 : 1) * (C / WN / m.MN) * lane + own * (BN / WN / m.MN) * lane + (REG * own * (C / m.MK) * m.MM * m.MK) / 2 / m.SG);
    if (sums <= 208 && attentionTileFits(C, m, tile) && WM * WN * m.SG <= gpu.limits.workgroupInvocations && attentionSharedBytes(pass, C, tile) <= gpu.limits.workgroupBytes && JSON.stringify(tile) !== JSON.stringify(chosen)) found.push(tile);
  }
  return found;
}

/** Attention by pass: in f32, and where there are matrices in f16 with f32 sums; `sweep` with other tiles than the chosen ones. */
export function attentionCases(gpu: Gpu, sweep: boolean): KernelCase[] {
  const m = matrixTile(gpu);
  return HEADS.flatMap(([H, G, C]) => Object.entries(LENGTHS).flatMap(([name, lengths]) => {
    const docs = documents(gpu, lengths, C);
    const { span, position, tiles, values: { N, tiles: T } } = pack(docs);
    const visible = visiblePairs(docs);
    const shape = `${docs.length} pairs ${name}, N=${N} H=${H} G=${G} C=${C}`;
    const record = (p: Program, make: Make, pass: AttentionPass, more: Pick<AttentionOptions, 'slots' | 'choice' | 'kernels'>): void => {
      const rows = { span: make([N, 4], span), position: make([N], position), tiles: make([T, 8], tiles) };
      const t = { q: make([N, H * C]), k: make([N, G * C]), v: make([N, G * C]), ...rows, o: make([N, H * C]), lse: make([N, H]) };
      const options = { H, G, C, scale: C ** -0.5, softCap: 0, window: 0, ...more };
      if (pass === 'fwd') attention(p, t, options);
      else attentionBackward(p, { ...t, do: make([N, H * C]), delta: make([N, H]), dq: make([N, H * C]), dk: make([N, G * C]), dv: make([N, G * C]) }, options);
    };
    const common = (pass: AttentionPass) => ({
      shape, flops: 2 * PRODUCTS[pass] * visible * H * C,
      bytes: N * C * ({ fwd: 2 * H + 2 * G, dq: 3 * H + 2 * G, dkv: 2 * H + 4 * G }[pass]),
    });
    const plain = (['plain', 'tiled'] as const).flatMap((kernels) => PASSES.filter((pass) => kernels === 'plain' || tiledTile(pass, C, gpu.limits)).map((pass): KernelCase => {
      const { bytes, ...rest } = common(pass);
      const kernel = `attention.${kernels === 'tiled' ? `tiled_${pass}` : pass === 'fwd' ? 'fwd' : `bwd_${pass}`}`;
      return { kernel, ...rest, bytes: 4 * bytes, only: new RegExp(kernel.replace('.', '\\.')), record: (p, make) => record(p, make, pass, { kernels }) };
    }));
    if (typeof m === 'string' || !matrixAttention(C, m)) return plain;
    const mixed = (p: Program, make: Make, pass: AttentionPass, choice?: AttentionTile): void => {
      const store = new OperandStore(gpu, m, 5, [{ bytes: packedBytes(N + TILE_ROWS, H * C, m), count: 4 }], true);
      make.freed(store);
      p.mixed(store, () => record(p, make, pass, { slots: SLOTS, ...(choice ? { choice: { [pass]: choice } } : {}) }));
    };
    const inMatrices = PASSES.flatMap((pass) => {
      const chosen = attentionTile(pass, C, m, gpu.limits);
      return [chosen, ...(sweep ? otherTiles(gpu, pass, C) : [])].map((tile, i): KernelCase => {
        const { bytes, ...rest } = common(pass);
        const kernel = `attention.matrix_${pass}`;
        const { BM, BN, WM, WN, REG } = tile;
        return { kernel: `${kernel} ${BM}x${BN}/${WM}x${WN}${REG ? ' reg' : ''}${i === 0 ? ' *' : ''}`, ...rest, bytes: 2 * bytes, only: new RegExp(kernel.replace('.', '\\.')), matrices: true, record: (p, make) => mixed(p, make, pass, tile) };
      });
    });
    const packing: KernelCase = { kernel: 'attention, packing of q, k, v', shape, flops: N * (H + 2 * G) * C, bytes: 6 * N * (H + 2 * G) * C, only: /pack_f16/, record: (p, make) => mixed(p, make, 'fwd') };
    return [...plain, ...inMatrices, packing];
  }));
}
