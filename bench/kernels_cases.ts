import { adafactor, adafactorScratch } from '../src/gpu/ops/adafactor.js';
import { adamw } from '../src/gpu/ops/adamw.js';
import { adamw8bit, blocks8bit, words8bit } from '../src/gpu/ops/adamw_8bit.js';
import { attention, attentionBackward } from '../src/gpu/ops/attention.js';
import { GAIN_ROWS } from '../src/gpu/ops/column_sums.js';
import { biasActivation } from '../src/gpu/ops/bias_activation.js';
import { disentangledAttention, queryTiles } from '../src/gpu/ops/disentangled_attention.js';
import { embed, embedBackward } from '../src/gpu/ops/embed.js';
import { gatherRows, gatherRowsBackward } from '../src/gpu/ops/gather_rows.js';
import { gradNorm, partialSlots } from '../src/gpu/ops/grad_norm.js';
import { headGrad, headStats } from '../src/gpu/ops/head_kernels.js';
import { layerNorm } from '../src/gpu/ops/layer_norm.js';
import { matmulNN, matmulNT, matmulTN } from '../src/gpu/ops/matmul.js';
import { rmsNorm, rmsNormBackward } from '../src/gpu/ops/rms_norm.js';
import { halfRows, packRows, unpackRows } from '../src/gpu/ops/pack_rows.js';
import { rope, ropeTable } from '../src/gpu/ops/rope.js';
import { sgd } from '../src/gpu/ops/sgd.js';
import { swiglu, swigluBackward } from '../src/gpu/ops/swiglu.js';
import { weightBytes, WEIGHT_FORMATS, type PackedFormat, type PackedTensor } from '../src/gpu/packed.js';
import type { Program } from '../src/gpu/program.js';
import { Tensor, type Extent } from '../src/gpu/tensor.js';
import { pack } from '../src/model/batch/pack.js';
import { relativeRows } from '../src/model/deberta/positions.js';
import { dynamicMaps } from '../src/model/packing/dynamic_map.js';

/** One op at one shape. */
export interface KernelCase {
  kernel: string;
  shape: string;
  /** Multiplications and additions; exp, sqrt and divisions count one each. */
  flops: number;
  /** Each operand read once, each result written once (in-place results: both). */
  bytes: number;
  /** Where there are timestamps, those of the dispatches whose label fits; all where absent. */
  only?: RegExp;
  /** Its products run in f16 matrices: its share is of what those can do. */
  matrices?: boolean;
  /** Makes its tensors through `make` and records the op. */
  record(p: Program, make: Make): void;
}

/** Makes a tensor that the runner fills with numbers near 1 (or with `data`) and frees after the case. */
export interface Make {
  (shape: Extent[], data?: Float32Array | Uint32Array): Tensor;
  /** A frozen matrix [O, I] in this format. */
  packed(shape: [number, number], format: PackedFormat): PackedTensor;
  /** Something of the case's own to free afterwards. */
  freed(what: { destroy(): void }): void;
}

/** Matrix sizes [outputs, inner] and rows: the small test model's layers and head, then larger models'. */
export const MATMULS: Array<[M: number, O: number, I: number]> = [
  [2048, 64, 64], [2048, 172, 64], [2048, 512, 64], [2048, 64, 172], [2048, 256, 256], [2048, 896, 896],
];

export function matmulCase(form: 'nt' | 'nn' | 'tn', M: number, O: number, I: number): KernelCase {
  return {
    kernel: `matmul.${form}`,
    shape: `M=${M} O=${O} I=${I}`,
    flops: 2 * M * O * I,
    bytes: 4 * (M * O + M * I + O * I * (form === 'tn' ? 2 : 1)),
    record(p, make) {
      const [x, w, y] = [make([M, I]), make([O, I]), make([M, O])];
      if (form === 'nt') matmulNT(p, { x, w, y });
      else if (form === 'nn') matmulNN(p, { x: y, w, y: x });
      else matmulTN(p, { a: y, b: x, y: w });
    },
  };
}

/** The products with a frozen matrix in fewer bits: x·Wᵀ and dy·W. */
const packedCases = (M: number, O: number, I: number): KernelCase[] => WEIGHT_FORMATS.filter((f): f is PackedFormat => f !== 'f32').flatMap((format) => (['nt', 'nn'] as const).map((form): KernelCase => ({
  kernel: `matmul.${form} ${format}`, shape: `M=${M} O=${O} I=${I}`, flops: 2 * M * O * I, bytes: 4 * (M * O + M * I) + weightBytes(format, O, I),
  record(p, make) {
    const [x, w, y] = [make([M, I]), make.packed([O, I], format), make([M, O])];
    if (form === 'nt') matmulNT(p, { x, w, y });
    else matmulNN(p, { x: y, w, y: x });
  },
})));

/** The ops of a step at N rows, width D, ff width F, H heads and G key/value heads of width C, a tile of V columns. */
export function stepCases(N: number, D: number, F: number, H: number, G: number, C: number, V: number): KernelCase[] {
  const batch = pack(Array.from({ length: Math.ceil(N / 512) }, (_, id) => ({
    id, prompt: new Array<number>(128).fill(1), branches: [new Array<number>(192).fill(2), new Array<number>(192).fill(3)],
  })));
  N = batch.values.N;
  const S = batch.values.S;
  // Each query sees the prompt before it and its own branch: pairs of rows.
  let seen = 0;
  for (let i = 0; i < N; i++) seen += batch.span[4 * i + 1]! - batch.span[4 * i]! + (i - batch.span[4 * i + 2]! + 1);
  const rows = (n: number, width: number): string => `[${n}, ${width}]`;
  const attentionShape = `N=${N} H=${H} G=${G} C=${C}`;
  const attentionTensors = (make: Make) => ({
    q: make([N, H * C]), k: make([N, G * C]), v: make([N, G * C]), span: make([N, 4], batch.span), position: make([N], batch.position),
    o: make([N, H * C]), lse: make([N, H]),
  });
  const attentionOptions = { H, G, C, scale: C ** -0.5, softCap: 0, window: 0 };
  const seqOf = batch.seqOf;
  const labels = batch.labels;
  return [
    { kernel: 'attention', shape: attentionShape, flops: seen * H * (4 * C + 4), bytes: 4 * N * (2 * H + 2 * G) * C, record: (p, make) => attention(p, attentionTensors(make), attentionOptions) },
    {
      kernel: 'attention backward', shape: attentionShape, flops: seen * H * (14 * C + 12), bytes: 4 * N * (4 * H + 4 * G) * C,
      record(p, make) {
        const t = attentionTensors(make);
        attentionBackward(p, { ...t, do: make([N, H * C]), delta: make([N, H]), dq: make([N, H * C]), dk: make([N, G * C]), dv: make([N, G * C]) }, attentionOptions);
      },
    },
    { kernel: 'rms_norm', shape: rows(N, D), flops: 4 * N * D, bytes: 8 * N * D, record: (p, make) => rmsNorm(p, { x: make([N, D]), gain: make([D]), y: make([N, D]), rstd: make([N]) }, 1e-5) },
    {
      kernel: 'rms_norm backward', shape: rows(N, D), flops: 13 * N * D, bytes: 16 * N * D,
      record: (p, make) => rmsNormBackward(p, {
        x: make([N, D]), gain: make([D]), rstd: make([N]), dy: make([N, D]), dx: make([N, D]), dgain: make([D]),
        partial: make([Math.ceil(N / GAIN_ROWS), D]),
      }),
    },
    { kernel: 'swiglu', shape: rows(N, F), flops: 4 * N * F, bytes: 12 * N * F, record: (p, make) => swiglu(p, { gate: make([N, F]), up: make([N, F]), h: make([N, F]) }) },
    {
      kernel: 'swiglu backward', shape: rows(N, F), flops: 10 * N * F, bytes: 20 * N * F,
      record: (p, make) => swigluBackward(p, { gate: make([N, F]), up: make([N, F]), dh: make([N, F]), dgate: make([N, F]), dup: make([N, F]) }),
    },
    {
      kernel: 'rope', shape: rows(N, H * C), flops: 3 * N * H * C, bytes: 8 * N * H * C,
      record: (p, make) => rope(p, { x: make([N, H * C]), table: make([512, C], ropeTable(512, Array.from({ length: C / 2 }, (_, c) => 10000 ** ((-2 * c) / C)))), position: make([N], batch.position) }),
    },
    {
      kernel: 'embed', shape: `${rows(N, D)} of ${rows(V, D)}`, flops: 0, bytes: 8 * N * D,
      record: (p, make) => embed(p, { ids: make([N], batch.ids), pieces: [{ first: 0, table: make([V, D]) }], x: make([N, D]) }),
    },
    {
      // Ids spread over the vocabulary, unlike the attention batch's, whose rows hold three ids.
      kernel: 'embed backward', shape: `${rows(N, D)} to ${rows(V, D)}`, flops: N * D, bytes: 4 * (N * D + 2 * V * D),
      record(p, make) {
        const spread = pack([{ id: 0, prompt: [0], branches: [Array.from({ length: N - 1 }, (_, i) => (i * 7) % V)] }]);
        const { uniqueIds, uniqueOffsets, uniqueRows, values: { U } } = spread;
        embedBackward(p, {
          dx: make([N, D]), uniqueIds: make([U], uniqueIds), uniqueOffsets: make([U + 1], uniqueOffsets), rows: make([N], uniqueRows),
          pieces: [{ first: 0, dtable: make([V, D]) }],
        });
      },
    },
    { kernel: 'gather_rows', shape: rows(S, D), flops: 0, bytes: 8 * S * D, record: (p, make) => gatherRows(p, { x: make([N, D]), src: make([S], batch.src), y: make([S, D]) }) },
    {
      kernel: 'gather_rows backward', shape: rows(N, D), flops: S * D, bytes: 4 * (S + N) * D,
      record: (p, make) => gatherRowsBackward(p, { dy: make([S, D]), offsets: make([N + 1], batch.gatherOffsets), list: make([S], batch.gatherList), dx: make([N, D]) }),
    },
    {
      kernel: 'head statistics', shape: rows(S, V), flops: 3 * S * V, bytes: 4 * S * V,
      record: (p, make) => p.run(headStats, { tile: make([S, V]), labels: make([S], labels), state: make([S, 4]) }, { v0: 0, count: V }),
    },
    {
      kernel: 'head gradient', shape: rows(S, V), flops: 3 * S * V, bytes: 8 * S * V,
      record: (p, make) => p.run(headGrad({ weighted: false }), {
        state: make([S, 4]), labels: make([S], labels), seq_of: make([S], seqOf), coef: make([batch.values.Q, 2]), tile: make([S, V]),
      }, { v0: 0, count: V, soft_cap: 0 }),
    },
    ...[V * D, 1 << 20].map((E): KernelCase => ({
      kernel: 'grad_norm', shape: rows(1, E), flops: 2 * E, bytes: 4 * E,
      record: (p, make) => gradNorm(p, { grads: [make([E])], partials: make([partialSlots(E)]) }),
    })),
    ...[V * D, 1 << 20].map((E): KernelCase => ({
      kernel: 'adamw', shape: rows(1, E), flops: 14 * E, bytes: 28 * E,
      record: (p, make) => adamw(
        p,
        { value: make([E]), grad: make([E]), m: make([E]), v: make([E]), stepState: make([16], Float32Array.of(1, 1, 0, 1, 0.1, 0.001, ...new Array<number>(10).fill(0))) },
        { lr: 1e-4, beta1: 0.9, beta2: 0.999, oneMinusBeta1: 0.1, oneMinusBeta2: 0.001, epsilon: 1e-8, weightDecay: 0.01 },
      ),
    })),
  ];
}

/**
 * Multiplications and additions of disentangled attention over one sequence of `n` tokens in heads together `D` wide: 4D a pair of rows, and 4D for a row
 * and each of the relative positions within reach.
 */
export function disentangledFlops(n: number, D: number, buckets: number, maxDistance: number): number {
  const table = relativeRows(n, buckets, maxDistance);
  return 4 * D * n * (n + table.at(-1)! - table[0]! + 1);
}

/** The ops of an encoder alone: N rows in sequences of n, width D, feed-forward F, H heads. */
function encoderCases(N: number, n: number, D: number, F: number, H: number, buckets: number): KernelCase[] {
  const tiles = queryTiles(new Array<number>(N / n).fill(n));
  const relative = relativeRows(n, buckets, 512);
  const [first, R] = [relative[0]!, 2 * buckets];
  return [
    {
      kernel: 'disentangled attention', shape: `N=${N} n=${n} H=${H} C=${D / H}`, flops: (N / n) * disentangledFlops(n, D, buckets, 512), bytes: 4 * (4 * N * D + 2 * R * D + 4 * N * H * R),
      record: (p, make) => disentangledAttention(p, {
        q: make([N, D]), k: make([N, D]), v: make([N, D]), pos_key: make([R, D]), pos_query: make([R, D]), c2p: make([N, H * R]), p2c: make([N, H * R]),
        relative: make([relative.length], relative), tiles: make([tiles.length / 4, 4], tiles), o: make([N, D]),
      }, { H, C: D / H, scale: 1 / Math.sqrt((3 * D) / H), first, count: relative.at(-1)! - first + 1 }),
    },
    { kernel: 'layer_norm', shape: `[${N}, ${D}]`, flops: 10 * N * D, bytes: 8 * N * D, record: (p, make) => layerNorm(p, { x: make([N, D]), b: make([D]), gain: make([D]), bias: make([D]), y: make([N, D]) }, 1e-7) },
    // The polynomial of erf: 12 multiply-adds at most.
    { kernel: 'bias and gelu', shape: `[${N}, ${F}]`, flops: 28 * N * F, bytes: 8 * N * F, record: (p, make) => biasActivation(p, { y: make([N, F]), b: make([F]) }, 'gelu') },
  ];
}

const STEP_STATE = Float32Array.of(1, 1, 0, 1, 0.1, 0.001, ...new Array<number>(10).fill(0));
const ADAM = { lr: 1e-4, beta1: 0.9, beta2: 0.999, oneMinusBeta1: 0.1, oneMinusBeta2: 0.001, epsilon: 1e-8, weightDecay: 0.01 };

/** The other optimisers on a matrix [N, I], and rows packed for the backward pass. */
function memoryCases(N: number, I: number): KernelCase[] {
  const [E, shape] = [N * I, `[${N}, ${I}]`];
  const { partial, slots } = adafactorScratch([N], I);
  const words = (make: Make, n: number): Tensor => make([n], new Uint32Array(n));
  return [
    {
      kernel: 'adamw_8bit', shape, flops: 40 * E, bytes: 16 * E,
      record: (p, make) => adamw8bit(p, { value: make([N, I]), grad: make([N, I]), m: words(make, words8bit(E)), v: words(make, words8bit(E)), mMax: make([blocks8bit(E)]), vMax: make([blocks8bit(E)]), maps: make([512], dynamicMaps()), stepState: make([16], STEP_STATE) }, ADAM),
    },
    {
      kernel: 'adafactor', shape, flops: 20 * E, bytes: 20 * E,
      record: (p, make) => adafactor(p, [{ value: make([N, I]), grad: make([N, I]), row: make([N]) }], make([I]), { partial: make([partial]), slots: make([slots]), total: make([4]) }, make([16], STEP_STATE), { lr: 1e-4, weightDecay: 0.01 }),
    },
    { kernel: 'sgd', shape, flops: 6 * E, bytes: 20 * E, record: (p, make) => sgd(p, { value: make([N, I]), grad: make([N, I]), buf: make([N, I]), stepState: make([16], STEP_STATE) }, { lr: 1e-4, weightDecay: 0.01, momentum: 0.9 }) },
    {
      kernel: 'rows packed as f16 and back', shape, flops: 8 * E, bytes: 12 * E,
      record: (p, make) => {
        const [x, rows] = [make([N, I]), halfRows(p.gpu, 'packed', N, I, 'float16')];
        packRows(p, x, rows);
        unpackRows(p, rows, x);
      },
    },
  ];
}

/** Everything `npm run bench -- kernels` measures. */
export const kernelCases = (): KernelCase[] => [
  ...MATMULS.flatMap((shape) => (['nt', 'nn', 'tn'] as const).map((form) => matmulCase(form, ...shape))),
  ...packedCases(2048, 896, 896),
  ...stepCases(2048, 64, 172, 8, 4, 8, 512),
  ...stepCases(1024, 896, 2432, 14, 2, 64, 2048).filter((c) => !/^(adamw|grad_norm)/.test(c.kernel)),
  ...memoryCases(1024, 1024),
  ...encoderCases(1024, 256, 256, 1024, 4, 64),
];

