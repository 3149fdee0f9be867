import type { Gpu } from './device.js';
import { matrixTile, type MatrixTile } from './matrices.js';
import { OperandStore } from './operand_store.js';
import { attentionMatrix, attentionMatrixBackward } from './ops/attention_matrix.js';
import { attentionRefusal, attentionTile, matrixAttention, type AttentionTile } from './ops/attention_matrix_tile.js';
import { attentionTiles, TILE_ROWS, type AttentionPass } from './ops/attention_tiles.js';
import { packedBytes } from './ops/operand_layout.js';
import { Program } from './program.js';
import { Tensor } from './tensor.js';
import { timeProgram } from './timing.js';

/* What `edpo doctor --tune` measures of attention in matrices (tune.ts): a pass at a time, heads as wide as models have them, pairs of HH's lengths. */

export const ATTENTION_PASSES: AttentionPass[] = ['fwd', 'dq', 'dkv'];
/** Heads, those of keys and values, their width. */
type Heads = [H: number, G: number, C: number];
/** Of Qwen2.5-0.5B, Qwen2.5-1.5B and gemma-2-2b; on a processor just enough to run. */
export const HEADS: Record<'hardware' | 'software', Heads[]> = { hardware: [[14, 2, 64], [12, 2, 128], [8, 4, 256]], software: [[2, 1, 8]] };
/** Pairs, tokens of a prompt and of each response. */
const PAIRS = { hardware: { count: 53, prompt: 150, response: 80 }, software: { count: 1, prompt: 9, response: 5 } };

export const attentionName = ({ BM, BN, WM, WN, REG }: AttentionTile): string => `${BM}x${BN}/${WM}x${WN}${REG ? ' reg' : ''}`;

/** Tiles of a pass to try, the usual one first: those that keep the usual one's bits. Empty where heads of C run in no matrices. */
export function attentionCandidates(gpu: Gpu, pass: AttentionPass, C: number, m: MatrixTile): AttentionTile[] {
  if (!matrixAttention(C, m)) return [];
  const usual = attentionTile(pass, C, m, gpu.limits);
  const subgroups = gpu.kind === 'hardware' ? [[1, 1], [2, 1], [4, 1], [1, 2], [2, 2], [4, 2]] : [[2, 1]];
  const rows = gpu.kind === 'hardware' ? [16, 32, 64] : [2 * m.MM];
  const blocks = pass === 'dq' && gpu.kind === 'hardware' ? [16, 32, 64] : [usual.BN];
  const other = [{ ...usual, REG: 1 - usual.REG }, ...rows.flatMap((BM) => blocks.flatMap((BN) => subgroups.map(([WM, WN]) => ({ ...usual, BM, BN, WM: WM!, WN: WN! }))))];
  return [usual, ...other.filter((t) => attentionName(t) !== attentionName(usual) && attentionRefusal(pass, C, m, t, gpu.limits) === undefined)];
}

/** Milliseconds of a pass in a tile; packing left out where the adapter has timestamps. */
export async function timeAttention(gpu: Gpu, pass: AttentionPass, [H, G, C]: Heads, tile: AttentionTile, runs: number): Promise<number> {
  const m = matrixTile(gpu) as MatrixTile;
  const { count, prompt, response } = PAIRS[gpu.kind === 'hardware' ? 'hardware' : 'software'];
  const length = prompt + 2 * response;
  const N = count * length;
  // As `pack` has them: promptStart, promptEnd, branchStart, visEnd.
  const span = new Uint32Array(4 * N);
  for (let row = 0; row < N; row++) {
    const [start, within] = [row - (row % length), row % length];
    const branch = start + prompt + (within < prompt + response ? 0 : response);
    span.set(within < prompt ? [start, start, start, start + length] : [start, start + prompt, branch, branch + response], 4 * row);
  }
  const list = attentionTiles(span);
  const tensors: Array<{ destroy(): void }> = [];
  const make = (shape: number[], of: (i: number) => number = (i) => ((i * 37) % 101) / 101 - 0.5): Tensor => {
    const t = new Tensor(gpu, 'tune', shape);
    t.write(Float32Array.from({ length: t.elements }, (_, i) => of(i)));
    tensors.push(t);
    return t;
  };
  const tiles = new Tensor(gpu, 'tune', [list.length / 8, 8], 'u32');
  tiles.write(list);
  const store = new OperandStore(gpu, m, 5, [{ bytes: packedBytes(N + TILE_ROWS, H * C, m), count: 4 }], true);
  tensors.push(tiles, store);
  const t = { q: make([N, H * C]), k: make([N, G * C]), v: make([N, G * C]), tiles, o: make([N, H * C]), lse: make([N, H], () => 5) };
  const program = new Program(gpu, 'tune');
  program.mixed(store, () => {
    const options = { H, G, C, scale: C ** -0.5, softCap: 0, window: 0, slots: { q: 0, k: 1, v: 2, dout: 3, ds: 4 }, choice: { [pass]: tile } };
    if (pass === 'fwd') attentionMatrix(program, t, options);
    else attentionMatrixBackward(program, { ...t, do: make([N, H * C]), delta: make([N, H]), dq: make([N, H * C]), dk: make([N, G * C]), dv: make([N, G * C]) }, options);
  });
  const { ms } = await timeProgram(gpu, program, runs, { values: { measureScales: 0 }, only: new RegExp(`attention\\.matrix_${pass}`) });
  for (const x of tensors) x.destroy();
  return ms;
}
