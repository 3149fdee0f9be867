import { parseArgs } from 'node:util';
import { InputError } from '../src/errors.js';
import { openGpu } from '../src/gpu/device.js';
import { keyedUniform } from '../src/model/data/order.js';
import { DEBERTA_V3_LARGE, debertaSpec, type DebertaSpec } from '../src/model/deberta/spec.js';
import { pairRmTensors } from '../src/model/judge/pairrm/folder.js';
import { PairScorer } from '../src/model/judge/pairrm/scorer.js';
import { ceiling } from './ceiling.js';
import { disentangledFlops } from './kernels_cases.js';
import { median } from '../src/gpu/timing.js';
import { table } from './table.js';
import { ndjsonOut } from './ndjson_out.js';

const HELP = 'npm run bench -- pairrm [--hidden 256 --layers 4 --heads 4 --ff 1024 --buckets 64 --vocab 1024 --lengths 64,256 --budget 1024 --runs 3 --adapter auto --out FILE]\n';

interface Line {
  length: number;
  comparisons: number;
  tokens: number;
  ms: number;
  tokens_per_second: number;
  gflops: number;
  share_of_matmul: number;
  /** Of the floating-point operations. */
  attention_share: number;
}

/** Multiplications and additions of the encoder on `count` sequences of n tokens; norms, activations and the head (some 1e-3 of it) not counted. */
const flopsOf = (s: DebertaSpec, n: number, count: number): { attention: number; all: number } => {
  const attention = count * s.L * disentangledFlops(n, s.D, s.buckets, s.maxDistance);
  return { attention, all: attention + count * n * s.L * 2 * (4 * s.D * s.D + 2 * s.D * s.F) };
};

/**
 * PairRM with random weights: comparisons of equal length that fill the budget once, by the wall clock with upload and read-back; tokens a second, and
 * the share of the plain f32 matmul measured in the same run. `--hidden 1024 --layers 24 --heads 16 --ff 4096 --buckets 256` is PairRM's own size.
 */
export async function run(argv: string[]): Promise<void> {
  const text = (value: string) => ({ type: 'string', default: value }) as const;
  const { values: o } = parseArgs({ args: argv, options: { hidden: text('256'), layers: text('4'), heads: text('4'), ff: text('1024'), buckets: text('64'), vocab: text('1024'), lengths: text('64,256'), budget: text('1024'), runs: text('3'), adapter: text('auto'), out: { type: 'string' }, help: { type: 'boolean' } } });
  if (o.help) return void process.stderr.write(HELP);
  const lengths = o.lengths.split(',').map(Number);
  const [budget, runs] = [Number(o.budget), Number(o.runs)];
  if (!lengths.every((n) => Number.isInteger(n) && n >= 9 && n <= budget)) throw new InputError(`--lengths ${o.lengths}: expected whole numbers from 9 to the budget, ${budget}`);
  const spec = debertaSpec({ ...DEBERTA_V3_LARGE, hidden_size: Number(o.hidden), num_hidden_layers: Number(o.layers), num_attention_heads: Number(o.heads), intermediate_size: Number(o.ff), position_buckets: Number(o.buckets), vocab_size: Number(o.vocab) }, 'bench');
  const gpu = await openGpu({ adapter: o.adapter });
  const top = await ceiling(gpu, runs);
  const tensors = pairRmTensors(spec);
  const at = new Map(tensors.map((p, i) => [p.name, i]));
  const scorer = await PairScorer.open(gpu, {
    spec, tensors,
    read: ({ name, shape }, first, rows) => {
      const width = shape[1] ?? 1;
      return Float32Array.from({ length: rows * width }, (_, i) => (shape.length === 1 ? Number(name.endsWith('LayerNorm.weight')) : (keyedUniform(at.get(name)!, first * width + i) - 0.5) / Math.sqrt(width)));
    },
  }, budget);
  const emit = ndjsonOut(o.out);
  const lines: Line[] = [];
  for (const length of lengths) {
    const comparisons = Math.floor(budget / length);
    const inputs = Array.from({ length: comparisons }, (_, c) => ({ ids: Array.from({ length }, (_, i) => Math.floor(keyedUniform(c, i) * spec.V)), source: 1, first: 4, second: 7, truncated: false }));
    const times: number[] = [];
    for (let i = 0; i <= runs; i++) {
      const started = performance.now();
      await scorer.score(inputs);
      // The first run warms up.
      if (i > 0) times.push(performance.now() - started);
    }
    const ms = median(times);
    const tokens = comparisons * length;
    const { attention, all } = flopsOf(spec, length, comparisons);
    const line: Line = { length, comparisons, tokens, ms, tokens_per_second: (1000 * tokens) / ms, gflops: all / ms / 1e6, share_of_matmul: all / ms / 1e6 / top.gflops, attention_share: attention / all };
    lines.push(line);
    emit({ bench: 'pairrm', adapter: gpu.name, kind: gpu.kind, toggles: gpu.toggles, hidden: spec.D, layers: spec.L, heads: spec.H, ff: spec.F, buckets: spec.buckets, runs, ceiling_gflops: top.gflops, ...line });
  }
  process.stderr.write(`${gpu.name} (${gpu.kind}): plain f32 matmul ${top.gflops.toFixed(2)} GFLOP/s\n${table([
    { head: 'tokens a comparison', cell: (l: Line) => l.length },
    { head: 'ms a batch', cell: (l) => l.ms },
    { head: 'tokens/s', cell: (l) => l.tokens_per_second },
    { head: 'GFLOP/s', cell: (l) => l.gflops },
    { head: 'of matmul %', cell: (l) => 100 * l.share_of_matmul },
    { head: 'in attention %', cell: (l) => 100 * l.attention_share },
  ], lines)}`);
  gpu.close();
}
