import type { Gpu } from './device.js';
import { patiently } from './patience.js';
import { Profiler } from './profile.js';
import type { Program, StepValues } from './program.js';

/** Median of several runs, each long enough for the clock. */
export interface Timing {
  /** Per execution of the case. */
  ms: number;
  runs: number;
  /** Executions per run. */
  repeats: number;
  /** Timestamp queries of the adapter, or wall clock around a submission that is waited for. */
  clock: 'timestamp' | 'wall';
}

/** A run lasts at least this long, so that neither the clock nor the submission counts. */
const RUN_MS = 40;
/** Work before the first run: a card's clocks fall to a fifth while it waits for a compiler, and need this long to come back. */
const WARM_MS = 150;
const MOST_REPEATS = 512;

export const median = (values: number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
};

/** Calls `once(repeats)` → ms for all repeats until kernels and the card's clocks are warm; returns the repeats of a run. */
export async function warmUp(once: (repeats: number) => Promise<number>): Promise<number> {
  await once(1);
  const enough = async (): Promise<number> => Math.max(1, Math.min(MOST_REPEATS, Math.ceil((RUN_MS * 2) / Math.max(await once(2), 1e-3))));
  const repeats = await enough();
  for (const from = performance.now(); performance.now() - from < WARM_MS; ) await once(repeats);
  return enough();
}

/** Calls `once(repeats)` → ms for all repeats: warms up, finds the repeats, returns the median per execution. */
export async function measure(runs: number, clock: Timing['clock'], once: (repeats: number) => Promise<number>): Promise<Timing> {
  const repeats = await warmUp(once);
  const times: number[] = [];
  for (let i = 0; i < runs; i++) times.push((await once(repeats)) / repeats);
  return { ms: median(times), runs, repeats, clock };
}

/** Times a program. `only`: where there are timestamps, those of the dispatches whose label fits. */
export async function timeProgram(gpu: Gpu, program: Program, runs: number, o: { values?: StepValues; only?: RegExp } = {}): Promise<Timing> {
  const { values = {}, only = /./ } = o;
  await program.ready();
  const profiler = Profiler.supported(gpu) ? new Profiler(gpu) : undefined;
  const timing = await measure(runs, profiler ? 'timestamp' : 'wall', async (repeats) => {
    const encoder = gpu.device.createCommandEncoder();
    for (let i = 0; i < repeats; i++) program.encode(encoder, values, profiler);
    const times = profiler?.finish(encoder);
    const from = performance.now();
    gpu.device.queue.submit([encoder.finish()]);
    if (times) return (await patiently(gpu, times())).reduce((sum, { label, ms }) => sum + (only.test(label) ? ms : 0), 0);
    await patiently(gpu, gpu.device.queue.onSubmittedWorkDone());
    gpu.check();
    return performance.now() - from;
  });
  profiler?.destroy();
  return timing;
}
