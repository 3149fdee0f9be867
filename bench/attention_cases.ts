import type { Gpu } from '../src/gpu/device.js';
import { matrixTile, type MatrixTile } from '../src/gpu/matrices.js';
import { OperandStore } from '../src/gpu/operand_store.js';
import { attention, attentionBackward, type AttentionOptions } from '../src/gpu/ops/attention.js';
import { attentionRegisters, attentionSharedBytes, attentionTile, attentionTileFits, matrixAttention, type AttentionTile } from '../src/gpu/ops/attention_matrix_tile.js';
import { tiledTile } from '../src/gpu/ops/attention_tiled.js';
import { TILE_ROWS, type AttentionPass } from '../src/gpu/ops/attention_tiles.js';
import { packedBytes } from '../src/gpu/ops/operand_layout.js';
import type { Program } from '../src/gpu/program.js';
import { pack, type Document } from '../src/model/batch/pack.js';
import type { KernelCase, Make } from './kernels_cases.js';
import { visiblePairs } from './step_profile.js';

/** Pairs of documents like HH's, and long ones: prompt and both responses; heads, key/value heads, width of Qwen2.5-0.5B, Qwen2.5-1.5B and gemma-2-2b. */
const LENGTHS = { 'HH-like': [150, 80], 'of 640': [256, 192] } as const;
const HEADS: Array<[H: number, G: number, C: number]> = [[14, 2, 64], [12, 2, 128], [8, 4, 256]];
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

/** Subgroups down and across, rows of the tile: what a sweep tries, with blocks of 32 and 64, and the chosen tile with its operands read again instead of kept in registers, or the other way. */
const SWEEP = [[4, 1, 64], [4, 2, 64], [2, 1, 32], [2, 2, 32], [2, 2, 64], [1, 2, 16]] as const;
/** Other tiles of a pass than the chosen one. */
function otherTiles(gpu: Gpu, m: MatrixTile, pass: AttentionPass, C: number): AttentionTile[] {
  const chosen = attentionTile(pass, C, m, gpu.limits);
  const REG = C <= 128 ? 1 : 0;
  const tried = [{ ...chosen, REG: 1 - chosen.REG }, ...SWEEP.flatMap(([WM, WN, BM]) => [32, 64].map((BN) => ({ BM, BN, WM, WN, PAD: chosen.PAD, REG })))];
  return tried.filter((t) => attentionRegisters(pass, C, m, t) <= 208 && attentionTileFits(C, m, t) && t.WM * t.WN * m.SG <= gpu.limits.workgroupInvocations
    && attentionSharedBytes(pass, C, t) <= gpu.limits.workgroupBytes && JSON.stringify(t) !== JSON.stringify(chosen));
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
      return [chosen, ...(sweep ? otherTiles(gpu, m, pass, C) : [])].map((tile, i): KernelCase => {
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
