import { EdpoError, InputError } from '../src/errors.js';
import { openGpu } from '../src/gpu/device.js';
import { losses } from '../src/model/losses/index.js';
import { parseBench } from './adapter_options.js';
import { countMade } from './count_made.js';
import { median } from '../src/gpu/timing.js';
import { ndjsonOut } from './ndjson_out.js';
import { documentsOfPair, drawPairs, peerSpec } from './peers_tokens.js';
import { table } from './table.js';
import { DTYPES, timeSteps, trainingCase, type Dtype } from './training_case.js';

const HELP = `npm run bench -- creep [--steps 2000 --every 100 --model tiny --scale 0.1 --pairs 4 --budget 256 --dtype float32|mixed_f16 --adapter auto --out FILE]

Does anything grow over many optimiser steps of ε-DPO from a cache? Every so many steps: memory of the process and of the GPU, live buffers, objects made since the warm-up,
median time of a step. Exit code 1 where objects are made or bytes on the GPU grow; what the process's memory and the time do is for the reader: a processor is not alone.
`;
const text = (value: string) => ({ type: 'string' as const, default: value });
const OPTIONS = { steps: text('2000'), every: text('100'), model: text('tiny'), scale: text('0.1'), pairs: text('4'), budget: text('256'), dtype: text('float32'), adapter: text('auto'), out: { type: 'string' }, help: { type: 'boolean', default: false } } as const;

/** Steps with documents of their own, then the same again. */
const CYCLE = 20;

interface Line { step: number; rss_bytes: number; heap_bytes: number; gpu_bytes: number; buffers: number; made: number; step_ms: number }

export async function run(args: string[]): Promise<void> {
  const o = parseBench('creep', args, OPTIONS);
  if (o.help) return void process.stderr.write(HELP);
  const [steps, every, perStep, budget] = (['steps', 'every', 'pairs', 'budget'] as const).map((name) => {
    const n = Number(o[name]);
    if (!Number.isInteger(n) || n < 1) throw new InputError(`--${name} ${o[name]}: expected a whole number from 1`, 'npm run bench -- creep --help');
    return n;
  }) as [number, number, number, number];
  if (!DTYPES.includes(o.dtype as Dtype)) throw new InputError(`--dtype ${o.dtype}: expected ${DTYPES.join(', ')}`, 'npm run bench -- creep --help');
  const spec = peerSpec(o.model);
  const pairs = drawPairs('hh', spec.V, Number(o.scale));
  const gpu = await openGpu({ adapter: o.adapter });
  const c = await trainingCase({
    gpu, spec, loss: losses.epsilon_dpo, params: { label_smoothing: 0 }, reference: 'cached', dtype: o.dtype as Dtype, budget,
    steps: Array.from({ length: CYCLE }, (_, step) => Array.from({ length: perStep }, (_, i) => step * perStep + i).flatMap((at) => documentsOfPair(pairs[at % pairs.length]!, at, true))),
  });
  const window = (from: number, count: number): Promise<number[]> => timeSteps({ ...c, plan: Array.from({ length: count }, (_, i) => c.plan[(from + i) % CYCLE]!), submit: (i) => c.submit((from + i) % CYCLE) }, 0);
  await window(0, CYCLE);
  const { made, undo } = countMade(gpu);
  const emit = ndjsonOut(o.out, { fresh: true });
  const lines: Line[] = [];
  for (let step = 0; step < steps; step += every) {
    const times = await window(step, Math.min(every, steps - step));
    const { rss, heapUsed } = process.memoryUsage();
    const line: Line = { step: step + times.length, rss_bytes: rss, heap_bytes: heapUsed, gpu_bytes: gpu.bytesNow, buffers: gpu.buffers.size, made: Object.values(made).reduce((a, b) => a + b, 0), step_ms: median(times) };
    lines.push(line);
    emit({ bench: 'creep', adapter: gpu.name, kind: gpu.kind, toggles: gpu.toggles, model: o.model, dtype: o.dtype, ...line });
  }
  undo();
  process.stderr.write(table([
    { head: 'step', cell: (l: Line) => l.step }, { head: 'process MB', cell: (l) => l.rss_bytes / 1e6 }, { head: 'heap MB', cell: (l) => l.heap_bytes / 1e6 }, { head: 'GPU MB', cell: (l) => l.gpu_bytes / 1e6 },
    { head: 'buffers', cell: (l) => l.buffers }, { head: 'made', cell: (l) => l.made }, { head: 'ms a step', cell: (l) => l.step_ms },
  ], lines));
  const [first, last] = [lines[0]!, lines.at(-1)!];
  const quarter = Math.max(1, Math.floor(lines.length / 4));
  const ratio = (of: (l: Line) => number): string => (median(lines.slice(-quarter).map(of)) / median(lines.slice(0, quarter).map(of))).toFixed(3);
  process.stderr.write(`${gpu.name}: last quarter of ${steps} steps over the first, medians: process memory ${ratio((l) => l.rss_bytes)}, time of a step ${ratio((l) => l.step_ms)}\n`);
  gpu.close();
  if (last.made > 0 || last.gpu_bytes > first.gpu_bytes || last.buffers > first.buffers) throw new EdpoError(`something grows: ${last.made} objects made (${JSON.stringify(made)}), GPU bytes ${first.gpu_bytes} to ${last.gpu_bytes}, buffers ${first.buffers} to ${last.buffers}`);
}
