import { GAIN_ROWS } from '../gpu/ops/column_sums.js';
import type { MatrixTile } from '../gpu/matrices.js';
import { filledBytes } from '../gpu/ops/filled.js';
import { HEAD_TILE } from '../gpu/ops/head.js';
import { keptBytes, type HeadTiles } from '../gpu/ops/kept_tiles.js';
import { tileCapacity, TILE_WORDS } from '../gpu/ops/attention_tiles.js';
import { headBytes } from '../gpu/ops/attention_matrix.js';
import { packedBytes } from '../gpu/ops/operand_layout.js';
import { halfWords } from '../gpu/ops/pack_rows.js';
import { pathsOfEnvironment, type Paths } from '../gpu/paths.js';
import { multiplyInMatrices } from './adapter_operands.js';
import { arenaExtra } from './arena.js';
import { keepsAttention, keepsMlp, type KeepFormat, type KeepMode } from './activations.js';
import { sequenceCapacity } from './batch/pack.js';
import { parameterCount, parameterSpecs, type ModelSpec, type ParameterSpec } from './families/spec.js';
import { isTarget, savedOf } from './lora.js';
import { ALL_IN_F32, operandTensors, type OperandTensors } from './operand_tensors.js';
import { adapterBytes, DIRECT_ROWS, layerMatrices, scratchSizes, splitElements, unpackedRoom } from './operand_sizes.js';
import { longFrom, rotaryRows, rotaryWidth } from './rotary.js';
import { IN_F32, storageBytes, type Storage } from './storage.js';

/** Bytes on the GPU by what they are for, before anything is allocated. */
export interface MemoryPlan {
  parts: Record<string, number>;
  total: number;
  /** What becomes of the head's logits between the passes. */
  headTiles: HeadTiles;
}

export interface MemoryOptions {
  spec: ModelSpec;
  rows: number;
  keep: KeepMode;
  /** Of what is kept between the passes; f32 where absent. */
  format?: KeepFormat | undefined;
  /** none, its label log-probs, its head (cached states), or the whole of it. */
  reference: 'none' | 'logps' | 'head' | 'live';
  /** The method reads a live reference's hidden states, as one with its head does; it does where absent. */
  states?: boolean;
  rounded: boolean;
  /** Floats per scored row for a loss's terms and token weights. */
  terms?: number | undefined;
  /** Floats per row that a learned mask of tokens keeps, numbers of its tensors, and these. */
  mask?: { perRow: number; parameters: number; list: ParameterSpec[] } | undefined;
  /** Columns of a tile of the head's logits; those of a software adapter where absent. */
  tile?: number;
  /** Which of its tiles are kept for the backward pass; none where absent. */
  headTiles?: HeadTiles | undefined;
  /** How the policy’s weights are kept (a LoRA run’s base), and those of a reference (and its head); f32 where absent. */
  storage?: { policy: Storage; reference: Storage } | undefined;
  /** Bytes the optimiser keeps, a mask's among them; those of AdamW in f32 where absent. */
  optimiser?: number | undefined;
  /** Only adapters are trained: their rank, how many numbers they hold, which share of their inputs falls, the matrices they are on, those trained in full beside them, and all their tensors. */
  lora?: { rank: number; parameters: number; dropout?: number; targets?: string[]; saved?: string[] | undefined; list: ParameterSpec[] } | undefined;
  /** The reference's weights are the policy's frozen ones. */
  sharedReference?: boolean | undefined;
  /** Mixed precision, and the tile its operands are padded to. */
  mixed?: MatrixTile | undefined;
  /** Plain products go by tiles, as a GPU makes them; otherwise where absent. */
  tiled?: boolean;
  /** The loss has a gradient through KL. */
  klGradient?: boolean;
  /** Which fused paths are taken; those of the environment where absent. */
  paths?: Paths;
}

interface Multiplied { name: string; rows: number; inner: number; table: boolean; copied: boolean }
/** The matrices of a model, or its head alone, that multiply in f16, and how they are kept. */
function multiplied(spec: ModelSpec, layers: boolean, storage: Storage): Multiplied[] {
  const { names } = spec;
  const wanted = new Set([spec.tied ? names.embed : names.head, ...(layers ? names.layers.flatMap((w) => [w.q, w.k, w.v, w.o, w.gate, w.up, w.down]) : [])]);
  return parameterSpecs(spec).filter((p) => wanted.has(p.name)).map((p) => ({ name: p.name, rows: p.shape[0]!, inner: p.shape[1]!, table: p.table, copied: storage(p) === 'f32' }));
}

/** The same sums as the constructors allocate; a test holds the two together. */
export function memoryPlan({ spec, rows: N, keep, format = 'float32', reference, states = true, rounded, terms = 0, mask, tile, headTiles: asked = 'recomputed', optimiser, lora, sharedReference, storage, mixed, tiled = false, klGradient = false, paths = pathsOfEnvironment() }: MemoryOptions): MemoryPlan {
  const headTiles = paths.uses('head_tiles_kept') ? asked : 'recomputed';
  const { D, H, G, C, F, V, L } = spec;
  const specs = parameterSpecs(spec);
  const P = parameterCount(spec);
  const trained = lora?.parameters ?? P;
  const width = Math.min(tile ?? HEAD_TILE, V);
  const names = spec.names.layers[0]!;
  const [headNorm, postNorm] = [names.qNorm !== undefined, names.postNorm1 !== undefined];
  // Each norm keeps rstd, a LayerNorm the mean too; an MLP has one or two projections.
  const [kept, wide] = [names.norm1Bias ? 2 : 1, names.gate ? 2 : 1];
  // Per row and layer, by halves: numbers that stay f32, and widths of what may be packed.
  const attention = { plain: kept + H + D + (headNorm ? H + G : 0) + (postNorm ? 1 : 0), heads: [H * C, G * C, G * C], wide: [H * C, ...(headNorm ? [H * C, G * C] : []), ...(postNorm ? [D] : [])] };
  const mlp = { plain: kept + (postNorm ? 1 : 0), heads: [], wide: [...new Array<number>(wide).fill(F), ...(postNorm ? [D] : [])] };
  // Queries, keys and values are packed between the passes like the rest, or kept as operands beside one set in f32.
  const half = (mode: KeepMode, heads: boolean): { plain: number; wide: number[]; kept: boolean }[] =>
    [{ ...attention, kept: keepsAttention(mode) }, { ...mlp, kept: keepsMlp(mode) }].map((x) => ({ ...x, wide: heads ? x.wide : [...x.heads, ...x.wide] }));
  const sum = (list: number[]): number => list.reduce((a, b) => a + b, 0);
  const headOperands = (mode: KeepMode, { q, k, v }: OperandTensors): number => N * C * ((q ? 0 : H) + (k ? 0 : G) + (v ? 0 : G)) + ((keepsAttention(mode) ? L : 1) * (headBytes(N, H, C, mixed!) + 2 * headBytes(N, G, C, mixed!))) / 4;
  const layers = (mode: KeepMode, made: OperandTensors): number => (made.heads ? headOperands(mode, made) : 0) + N * sum(half(mode, made.heads).map((x) => {
    const times = x.kept ? L : 1;
    if (format === 'float32' || !x.kept) return times * (x.plain + sum(x.wide));
    return times * (x.plain + sum(x.wide.map((I) => halfWords(I, format)))) + sum(x.wide);
  }));
  const blocks = (rows: number): number => Math.ceil(rows / GAIN_ROWS);
  const partial = Math.max(blocks(N) * D, names.qBias ? blocks(N) * H * C : 0, names.upBias ? blocks(N) * F : 0, headNorm ? blocks(N * H) * C : 0);
  // What adapters train in full stands beside the frozen weight, which is left to a reference.
  const inFull = (name: string): boolean => lora !== undefined && savedOf(spec, lora, name) !== undefined;
  const policyStorage: Storage = (p) => (inFull(p.name) ? 'f32' : (storage?.policy ?? IN_F32)(p));
  // In mixed precision some scratch is a packed operand alone.
  const inMatrices = lora !== undefined && mixed !== undefined && multiplyInMatrices(paths, lora.dropout ?? 0);
  const alone = (storedAs: Storage, targets: string[] = []): OperandTensors => {
    const inF32 = new Set(specs.filter((p) => storedAs(p) === 'f32').map((p) => p.name));
    return mixed ? operandTensors(spec, mixed, paths, { adapted: (weight) => isTarget(spec, targets, weight), copied: (weight) => inF32.has(weight), inMatrices, dropout: (lora?.dropout ?? 0) > 0 }) : ALL_IN_F32;
  };
  const policyAlone = alone(policyStorage, lora?.targets);
  const referenceAlone = alone((sharedReference ? storage?.policy : storage?.reference) ?? IN_F32);
  const activations = (mode: KeepMode, made: OperandTensors): number => N * ((made.h ? 0 : D) + (made.act ? 0 : F) - (mode === 'forward' && made.gateUp ? 2 * F : 0) + 2 * D + kept) + rotaryRows(spec, N) * rotaryWidth(spec) + (mode === 'forward' ? 2 : L + 1) * N * D + layers(mode, made);
  const hidden = reference === 'head' || (reference === 'live' && states);
  const head = N * (12 + width + 4 + terms) + (hidden ? N * (width + 8 + 1) + (rounded ? N * (D + width) : 0) : 0);
  // Small trained tensors lie in arenas.
  const nothing = { values: 0, gradients: 0 };
  const extra = keep === 'forward' ? nothing : lora ? arenaExtra(lora.list, IN_F32, paths) : arenaExtra(specs, storage?.policy ?? IN_F32, paths);
  const masked = mask ? arenaExtra(mask.list, IN_F32, paths) : nothing;
  const noted = mixed && keep !== 'forward' && !klGradient && paths.uses('head_tile_skip') && paths.uses('head_grad_operand');
  const ranges = keep === 'forward' ? 0 : 4 * splitElements(lora?.list ?? specs, spec, paths, { rows: N, headTile: width, mixed, adapters: inMatrices, tiled });
  const parts: Record<string, number> = {
    'weights': (storage ? storageBytes(specs, storage.policy) : P * 4) + (lora ? 0 : extra.values),
    ...(lora ? { 'adapters': lora.parameters * 4 + extra.values } : {}),
    ...(keep === 'forward' ? {} : { 'gradients': trained * 4 + extra.gradients, 'optimiser state': optimiser ?? trained * 8 + 2 * extra.values }),
    'activations': (activations(keep, policyAlone) + N * (lora ? (policyAlone.u ? 0 : lora.rank) + (lora.dropout ? Math.max(D, H * C, F) + 1 : 0) : 0)) * 4,
    ...(keep === 'forward' ? {} : { 'backward scratch': (N * ((spec.block.parallel ? 5 : 4) * D + ((policyAlone.dact ? 0 : 1) + (names.gate && !policyAlone.dgate ? 1 : 0) + (policyAlone.dup ? 0 : 1)) * F + 2 * H * C + 2 * G * C + H + (headNorm ? (H + G) * C : 0) + (postNorm && !policyAlone.dpost ? D : 0)) + partial) * 4 }),
    'head': head * 4 + (noted ? filledBytes(N, V, width, mixed) : 0),
    ...(headTiles === 'recomputed' ? {} : { 'head tiles kept': keptBytes(N, V, width, headTiles, HEAD_TILE) }),
    'batch': N * 4 * (32 + (longFrom(spec, N) === undefined ? 0 : 1)) + 2 * 4 * TILE_WORDS * tileCapacity(N, sequenceCapacity(N)),
    ...(reference === 'none' ? {} : { 'reference rows': (N + (hidden ? N * D : 0)) * 4 }),
    ...(reference === 'head' && !sharedReference ? { 'reference head': storageBytes([{ name: spec.tied ? spec.names.embed : spec.names.head, shape: [V, D], table: true }], storage?.reference ?? IN_F32) } : {}),
    ...(reference === 'live' ? { 'reference model': (sharedReference ? 0 : storageBytes(specs, storage?.reference ?? IN_F32)) + (activations('forward', referenceAlone) + N * (12 + width + 4)) * 4 } : {}),
    ...(mask ? { 'token mask': (N * mask.perRow + 2 * mask.parameters + (optimiser === undefined ? 2 * mask.parameters : 0)) * 4 + masked.values + masked.gradients + (optimiser === undefined ? 2 * masked.values : 0) } : {}),
    ...(mixed ? { 'f16 operands': mixedBytes() } : {}),
    ...(ranges > 0 ? { 'sums of ranges': ranges } : {}),
  };
  function mixedBytes(): number {
    const policy = multiplied(spec, true, policyStorage);
    const other = hidden || reference === 'live' ? multiplied(spec, reference === 'live', storage?.reference ?? IN_F32).filter(({ name }) => !sharedReference || inFull(name)) : [];
    const models = [...policy, ...other];
    // A weight in f32 has an f16 copy; others are read as they are kept, or unpacked one at a time.
    const copies = models.filter((m) => m.copied).reduce((n, { rows, inner }) => n + packedBytes(rows, inner, mixed!), 0);
    const room = N > DIRECT_ROWS || !paths.uses('quantised_operands') ? unpackedRoom(models.filter((m) => !m.copied), width, mixed!) : 0;
    const scratch = scratchSizes(spec, N, width, hidden ? (rounded ? 2 : 1) : 0, mixed!, keep !== 'forward', { heads: policyAlone.heads && (reference !== 'live' || referenceAlone.heads), dact: policyAlone.dact }, inMatrices && !policyAlone.u ? lora.rank : 0).reduce((n, s) => n + s.bytes * s.count, 0);
    // Scales, maxima and peaks: a few words per matrix. Gains of the norms whose output adapters read: two numbers a column.
    const adapted = (weights: Array<string | undefined>): boolean => weights.some((w) => w !== undefined && isTarget(spec, lora?.targets ?? [], w));
    const norms = spec.names.layers.reduce((n, w) => n + Number(adapted([w.q, w.k, w.v])) + Number(adapted([w.gate, w.up])), 0);
    const adapters = inMatrices ? adapterBytes(lora.list, mixed!) + 3 * 4 * 4 * lora.list.length + 8 * norms * D : 0;
    const inner = policyAlone.u ? packedBytes(N, lora!.rank, mixed!) : 0;
    return copies + adapters + inner + room + scratch + (keep === 'forward' ? 1 : 3) * 4 * 3 * (L * (layerMatrices(spec) + 2) + 1);
  }
  return { parts, total: Object.values(parts).reduce((a, b) => a + b, 0), headTiles };
}

/** What `edpo plan` and a run say of the head's logits. */
export const describeHeadTiles = ({ headTiles }: MemoryPlan): string =>
  ({ recomputed: 'made again for the backward pass', kept: 'the policy’s kept in f16 for the backward pass', kept_both: 'the policy’s and the reference’s kept in f16 for the backward pass' })[headTiles];

export const describeMemory = (m: MemoryPlan, text: (n: number) => string): string =>
  `${text(m.total)} on the GPU: ${Object.entries(m.parts).map(([k, v]) => `${k} ${text(v)}`).join(', ')}`;
