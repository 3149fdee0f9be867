import { openGpu } from '../src/gpu/device.js';
import { patiently } from '../src/gpu/patience.js';
import { idleShare, Profiler, type DispatchTime } from '../src/gpu/profile.js';
import { matmulFlops } from '../src/gpu/program.js';
import { documentRows } from '../src/model/batch/pack.js';
import { parameterCount } from '../src/model/families/spec.js';
import { parseBench } from './adapter_options.js';
import { ceiling } from './ceiling.js';
import { median } from '../src/gpu/timing.js';
import { ndjsonOut } from './ndjson_out.js';
import { kernelShares, visiblePairs, type KernelShare } from './step_profile.js';
import { WORK_HELP, WORK_OPTIONS, workOf } from './step_work.js';
import { table } from './table.js';
import { timeSteps, trainingCase, type TrainingCase } from './training_case.js';

const HELP = `npm run bench -- step ${WORK_HELP}
`;

/**
 * Optimiser steps as `train` makes them, on random weights: time of a step, tokens/s, pairs/s, FLOP/s of its matrix products (beside a plain f32 matmul's of the same run), the host's
 * time to submit one; by timestamps the share of the time between the first kernel of several steps and the last in which none runs; and the share each kernel takes of one step,
 * with its FLOP/s or GB/s where its work is known. One NDJSON line for the step and one per kernel.
 */
export async function run(args: string[]): Promise<void> {
  const o = parseBench('step', args, WORK_OPTIONS);
  if (o.help) return void process.stderr.write(HELP);
  const { warm, runs, perStep, reference: source, headTiles, ...work } = workOf('step', o);
  const { spec, loss, dtype, steps } = work;

  const gpu = await openGpu({ adapter: o.adapter });
  const top = dtype === 'float32' ? await ceiling(gpu, runs) : undefined;
  const c = await trainingCase({ gpu, ...work, reference: source, headTiles });
  const host: number[] = [];
  const times = await timeSteps(c, warm, host);
  const step_ms = times.reduce((n, ms) => n + ms, 0) / times.length;
  const timed = steps.slice(warm);
  const rows = timed.flat().reduce((n, d) => n + documentRows(d), 0) / runs;
  const flops = c.plan.slice(warm).flat().reduce((n, m) => n + matmulFlops(c.engine.dispatches(m.documents)), 0) / runs;
  const gflops = flops / step_ms / 1e6;
  const idle = Profiler.supported(gpu) ? idleShare(await profiled(c, 'pass', Array.from({ length: runs }, (_, i) => warm + i))) : undefined;
  const write = ndjsonOut(o.out);
  const emit = (line: object): void => write({ bench: 'step', adapter: gpu.name, kind: gpu.kind, toggles: gpu.toggles, model: o.model ?? 'invented', dtype, reference: source, loss_type: loss.name, head_tiles: headTiles, ...(work.loraRank > 0 ? { lora_r: work.loraRank } : {}), ...(gpu.without.size > 0 ? { without: [...gpu.without] } : {}), ...line });
  emit({
    parameters: parameterCount(spec), rows, pairs: perStep, micro_batches: c.plan.slice(warm).flat().length / runs, steps: runs, step_ms, median_ms: median(times), tokens_per_second: (rows / step_ms) * 1000, pairs_per_second: (perStep / step_ms) * 1000,
    matmul_gflops: gflops, ...(top ? { ceiling_gflops: top.gflops, ceiling_gbps: top.gbps, share_of_matmul: gflops / top.gflops } : {}), host_ms: median(host), setup_ms: c.setupMs, ...(idle ? { span_ms: idle.span, busy_ms: idle.busy, idle_share: idle.idle } : {}), gpu_bytes: gpu.bytesPeak,
  });
  process.stderr.write(`${gpu.name}: ${o.model ?? 'invented'}, ${dtype}, reference ${source}: ${rows.toFixed(0)} rows, ${perStep} pairs, ${step_ms.toFixed(1)} ms a step, ${((rows / step_ms) * 1000).toFixed(0)} tokens/s, ${gflops.toFixed(2)} GFLOP/s in products${top ? `, of ${top.gflops.toFixed(2)} a plain f32 matmul reaches` : ''}\n`);
  process.stderr.write(`the host submits a step in ${median(host).toFixed(1)} ms${idle ? `; no kernel runs in ${(100 * idle.idle).toFixed(2)} % of ${idle.span.toFixed(1)} ms over ${runs} steps` : ''}\n`);
  if (!Profiler.supported(gpu)) return gpu.close();
  const shares = await stepShares(c, warm);
  for (const s of shares) emit(s);
  process.stderr.write(table([
    { head: 'kernel', cell: (s: KernelShare) => s.kernel },
    { head: 'ms', cell: (s) => s.ms },
    { head: 'share %', cell: (s) => 100 * s.share },
    { head: 'dispatches', cell: (s) => s.dispatches },
    { head: 'GFLOP/s', cell: (s) => s.gflops ?? NaN },
    { head: 'GB/s', cell: (s) => s.gbps ?? NaN },
  ], shares.slice(0, 20)));
  gpu.close();
}

/** Runs these steps as `train` does with timestamps, all in one list. */
async function profiled(c: TrainingCase, per: 'dispatch' | 'pass', steps: number[]): Promise<DispatchTime[]> {
  const { gpu } = c.engine.options;
  const profiler = new Profiler(gpu, per);
  c.engine.profiler = profiler;
  await timeSteps({ ...c, plan: steps.map((i) => c.plan[i]!), submit: (i) => c.submit(steps[i]!) }, 0);
  c.engine.profiler = undefined;
  const encoder = gpu.device.createCommandEncoder();
  const read = profiler.finish(encoder);
  gpu.device.queue.submit([encoder.finish()]);
  const times = await patiently(gpu, read());
  profiler.destroy();
  return times;
}

/** One step, every dispatch timed, by kernel. */
async function stepShares(c: TrainingCase, step: number): Promise<KernelShare[]> {
  const times = await profiled(c, 'dispatch', [step]);
  // Every micro-batch begins with the dispatches it says it has; what is over is the optimiser's.
  const visible = c.plan[step]!.flatMap((m) => new Array<number>(c.engine.dispatches(m.documents).length).fill(visiblePairs(m.documents)));
  return kernelShares(times, (at) => visible[at] ?? 0);
}
