import { parseArgs } from 'node:util';
import { openGpu } from '../src/gpu/device.js';
import { Profiler, sumByLabel, kernelOf } from '../src/gpu/profile.js';
import { ceiling } from './ceiling.js';
import { medianStep, OPTIMISE, stepCase } from './step_setup.js';
import { table } from './table.js';
import { ndjsonOut } from './ndjson_out.js';

const HELP = 'npm run bench -- step [--hidden 64 --layers 5 --vocab 512 --pairs 8 --length 400 --runs 5 --adapter auto --out FILE]\n';

/**
 * A training step of ε-DPO with the reference live, random weights: wall time, tokens/s, pairs/s, FLOP/s by 8N per row and its share of a plain
 * f32 matmul measured in the same run, and the share of the step each kernel takes (timestamps, where the adapter has them). One NDJSON line
 * for the step and one per kernel.
 */
export async function run(argv: string[]): Promise<void> {
  const { values } = parseArgs({ args: argv, options: { hidden: { type: 'string', default: '64' }, layers: { type: 'string', default: '5' }, vocab: { type: 'string', default: '512' }, pairs: { type: 'string', default: '8' }, length: { type: 'string', default: '400' }, runs: { type: 'string', default: '5' }, adapter: { type: 'string', default: 'auto' }, out: { type: 'string' }, help: { type: 'boolean' } } });
  if (values.help) {
    process.stderr.write(HELP);
    return;
  }
  const [hidden, layers, vocab, pairs, length, runs] = [values.hidden, values.layers, values.vocab, values.pairs, values.length, values.runs].map(Number) as [number, number, number, number, number, number];
  const gpu = await openGpu({ adapter: values.adapter });
  const top = await ceiling(gpu, runs);
  const c = await stepCase(gpu, { hidden, layers, vocab, pairs, length });
  const ms = await medianStep(c, runs);
  const write = ndjsonOut(values.out);
  const emit = (line: object): void => write({ bench: 'step', adapter: gpu.name, kind: gpu.kind, toggles: gpu.toggles, ...line });
  const gflops = c.flops / ms / 1e6;
  emit({ parameters: c.parameters, rows: c.rows, pairs, median_ms: ms, tokens_per_second: (c.rows / ms) * 1000, pairs_per_second: (pairs / ms) * 1000, gflops, ceiling_gflops: top.gflops, ceiling_gbps: top.gbps, share_of_matmul: gflops / top.gflops, gpu_bytes: gpu.bytesPeak });
  process.stderr.write(`${gpu.name}: ${c.rows} rows, ${pairs} pairs, ${ms.toFixed(1)} ms a step, ${((c.rows / ms) * 1000).toFixed(0)} tokens/s, ${gflops.toFixed(2)} of ${top.gflops.toFixed(2)} GFLOP/s\n`);
  if (!Profiler.supported(gpu)) return;
  const shares = await c.engine.profileStep(c.documents, 1 / pairs, OPTIMISE, new Profiler(gpu));
  const labels = sumByLabel(shares, kernelOf);
  const total = labels.reduce((n, l) => n + l.ms, 0);
  for (const l of labels) emit({ kernel: l.label, ms: l.ms, share: l.ms / total, dispatches: l.dispatches });
  process.stderr.write(table([
    { head: 'kernel', cell: (l: (typeof labels)[number]) => l.label },
    { head: 'ms', cell: (l) => l.ms },
    { head: 'share %', cell: (l) => (100 * l.ms) / total },
    { head: 'dispatches', cell: (l) => l.dispatches },
  ], labels.slice(0, 20)));
  gpu.close();
}
