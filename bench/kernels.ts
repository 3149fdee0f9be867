import { openGpu } from '../src/gpu/device.js';
import { InputError } from '../src/errors.js';
import { attentionCases } from './attention_cases.js';
import { ceiling, type Ceiling } from './ceiling.js';
import { matrixRates } from './ceilings_measure.js';
import { kernelCases, type KernelCase } from './kernels_cases.js';
import { timeCase } from './kernels_time.js';
import { table } from './table.js';
import { ADAPTER_OPTIONS, checkedOptions, parseBench } from './adapter_options.js';
import { ndjsonOut } from './ndjson_out.js';

const HELP = `npm run bench -- kernels [--filter REGEXP] [--sweep] [--runs N] [--adapter NAME] [--toggles production|checked] [--out FILE]

Times every kernel at several shapes: median of N runs (5), GFLOP/s, GB/s, and the share of what this adapter can do at
best, from a plain f32 matmul and a copy measured first (of products in f16 matrices: from multiply-accumulates in registers). --sweep tries other tiles of
attention's matrices than those chosen (marked *). NDJSON to stdout or FILE, a table to stderr.

  npm run bench -- kernels --filter 'matmul|adamw' --out kernels.ndjson
`;

/** One measured case as it is printed. */
interface Line {
  bench: 'kernels';
  kernel: string;
  shape: string;
  ms: number;
  gflops: number;
  gbps: number;
  /** Time the ceilings allow over time taken; above 1 where the data stay in a cache. */
  share: number;
}

const line = (c: KernelCase, ms: number, top: Ceiling & { matrix: number }): Line => ({
  bench: 'kernels', kernel: c.kernel, shape: c.shape, ms,
  gflops: c.flops / ms / 1e6, gbps: c.bytes / ms / 1e6,
  share: Math.max(c.flops / (c.matrices ? top.matrix : top.gflops), c.bytes / top.gbps) / 1e6 / ms,
});

const OPTIONS = { ...ADAPTER_OPTIONS, filter: { type: 'string', default: '' }, sweep: { type: 'boolean', default: false } } as const;

export async function run(args: string[]): Promise<void> {
  const o = parseBench('kernels', args, OPTIONS);
  if (o.help) return void process.stderr.write(HELP);
  const { runs, toggles } = checkedOptions(o);
  const gpu = await openGpu({ toggles, ...(o.adapter ? { adapter: o.adapter } : {}) });
  const cases = [...kernelCases(), ...attentionCases(gpu, o.sweep)].filter((c) => new RegExp(o.filter).test(`${c.kernel} ${c.shape}`));
  if (cases.length === 0) throw new InputError(`--filter ${o.filter} fits no kernel and shape`, 'npm run bench -- kernels lists them all');
  const emit = ndjsonOut(o.out, { fresh: true });
  const about = { adapter: gpu.name, adapter_kind: gpu.kind, driver: gpu.info.description, subgroup_size: gpu.subgroupMax, toggles: gpu.toggles };
  const rates = cases.some((c) => c.matrices) ? await matrixRates(gpu, runs) : [];
  const top = { ...(await ceiling(gpu, runs)), matrix: Math.max(0, ...rates.filter((r) => r.component === 'f16' && r.result === 'f32').map((r) => r.tflops * 1e3)) };
  emit({ bench: 'kernels', kernel: 'ceiling', gflops: top.gflops, gbps: top.gbps, ...(top.matrix > 0 ? { matrix_gflops: top.matrix } : {}), ...about });
  const lines: Line[] = [];
  for (const c of cases) {
    const timing = await timeCase(gpu, c, runs);
    const result = line(c, timing.ms, top);
    lines.push(result);
    emit({ ...result, runs: timing.runs, repeats: timing.repeats, clock: timing.clock, ...about });
  }
  process.stderr.write(`${gpu.name} (${gpu.kind}), ${gpu.toggles} toggles\nplain f32 matmul ${top.gflops.toFixed(2)} GFLOP/s, copy ${top.gbps.toFixed(2)} GB/s${top.matrix > 0 ? `, matrices in registers ${top.matrix.toFixed(2)} GFLOP/s` : ''}\n\n`);
  process.stderr.write(table([
    { head: 'kernel', cell: (l: Line) => l.kernel },
    { head: 'shape', cell: (l) => l.shape },
    { head: 'ms', cell: (l) => l.ms },
    { head: 'GFLOP/s', cell: (l) => l.gflops },
    { head: 'GB/s', cell: (l) => l.gbps },
    { head: 'share', cell: (l) => l.share },
  ], lines));
  gpu.close();
}
