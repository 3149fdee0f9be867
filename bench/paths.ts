import { InputError } from '../src/errors.js';
import { openGpu } from '../src/gpu/device.js';
import { FUSED_PATHS, type FusedPath } from '../src/gpu/paths.js';
import type { DispatchSizes } from '../src/gpu/program.js';
import { median } from '../src/gpu/timing.js';
import { documentRows } from '../src/model/batch/pack.js';
import { parseBench } from './adapter_options.js';
import { ndjsonOut } from './ndjson_out.js';
import { WORK_HELP, WORK_OPTIONS, workOf, type Work } from './step_work.js';
import { table } from './table.js';
import { timeSteps, trainingCase } from './training_case.js';

const HELP = `npm run bench -- paths [--paths a,b] ${WORK_HELP}

What each fused path (EDPO_WITHOUT, src/gpu/paths.ts) is worth: optimiser steps with all of them and without each, in one process on new devices of the same adapter. The steps with all are timed again
after every few paths, and a path's ratio is to the two times around it. A path that the shape, the arithmetic or the adapter does not take is named as such.
`;

/** These paths the recorded dispatches do not tell. */
const OF_THE_HOST: FusedPath[] = ['replay'];
/** The trainer's own loop, which no benchmark of steps runs. */
const NOT_HERE: FusedPath[] = ['late_reading'];
/** All paths are timed again after so many. */
const EVERY = 4;

interface Timed { ms: number; dispatches: number; bytes: number; labels: string }
interface Line { path: string; taken: boolean; ms?: number; all_ms?: number; of_all?: number; dispatches?: number; all_dispatches?: number; bytes?: number; all_bytes?: number }

export async function run(args: string[]): Promise<void> {
  const o = parseBench('paths', args, { ...WORK_OPTIONS, paths: { type: 'string' }, warm: { type: 'string', default: '1' }, runs: { type: 'string', default: '3' } } as const);
  if (o.help) return void process.stderr.write(HELP);
  const work = workOf('paths', o);
  const known = (Object.keys(FUSED_PATHS) as FusedPath[]).filter((path) => !NOT_HERE.includes(path));
  const asked = (o.paths ?? '').split(',').map((name) => name.trim()).filter(Boolean);
  const wrong = asked.filter((name) => !known.some((path) => path === name));
  if (wrong.length > 0) throw new InputError(`--paths ${wrong.join(', ')}: expected some of ${known.join(', ')}`, 'npm run bench -- paths --help');
  const paths = asked.length > 0 ? known.filter((path) => asked.includes(path)) : known;
  const write = ndjsonOut(o.out);
  const lines: Line[] = [];
  let waiting: Array<{ path: FusedPath; timed: Timed }> = [];
  let about = { adapter: '', kind: '' };
  /** Steps without a path, or with all; recorded alone where nothing would tell them from `all`. */
  const time = async (without: FusedPath | undefined, all?: Timed): Promise<Timed | undefined> => {
    const gpu = await openGpu({ adapter: o.adapter });
    about = { adapter: gpu.name, kind: gpu.kind };
    if (without) gpu.without.add(without);
    try {
      const c = await trainingCase({ gpu, ...work });
      const list = [...c.engine.dispatches(work.steps[0]!), ...c.engine.optimiserDispatches().list];
      const labels = list.map(({ label, inputs, bytes }: DispatchSizes) => `${label} ${bytes} ${JSON.stringify(inputs)}`).join('\n');
      if (all?.labels === labels && !OF_THE_HOST.includes(without!)) return undefined;
      return { ms: median(await timeSteps(c, work.warm)), dispatches: list.length, bytes: list.reduce((n, d) => n + d.bytes, 0), labels };
    } finally {
      gpu.close();
    }
  };
  const emit = (line: Line): void => {
    lines.push(line);
    write({ bench: 'paths', ...about, model: o.model ?? 'invented', dtype: work.dtype, reference: work.reference, loss_type: work.loss.name, ...(work.loraRank > 0 ? { lora_r: work.loraRank } : {}), rows: rowsOf(work), pairs: work.perStep, steps: work.runs, ...line });
  };
  let all = (await time(undefined))!;
  /** Times all once more and gives the paths since their ratios. */
  const settle = async (): Promise<void> => {
    if (waiting.length === 0) return;
    const again = (await time(undefined))!;
    const all_ms = (all.ms + again.ms) / 2;
    for (const { path, timed } of waiting) emit({ path, taken: true, ms: timed.ms, all_ms, of_all: timed.ms / all_ms, dispatches: timed.dispatches, all_dispatches: all.dispatches, bytes: timed.bytes, all_bytes: all.bytes });
    waiting = [];
    all = again;
  };
  for (const path of paths) {
    const timed = await time(path, all);
    if (timed) waiting.push({ path, timed });
    else emit({ path, taken: false });
    if (waiting.length === EVERY) await settle();
  }
  await settle();
  process.stderr.write(`${about.adapter}: ${o.model ?? 'invented'}, ${work.dtype}, ${rowsOf(work)} rows and ${work.perStep} pairs a step, medians of ${work.runs} steps\n`);
  process.stderr.write(table([
    { head: 'without', cell: (l: Line) => l.path },
    { head: 'of the time with all', cell: (l) => l.of_all ?? 'not taken here' },
    { head: 'ms', cell: (l) => l.ms ?? NaN },
    { head: 'dispatches', cell: (l) => (l.taken ? l.dispatches! - l.all_dispatches! : NaN) },
    { head: 'MB bound', cell: (l) => (l.taken ? (l.bytes! - l.all_bytes!) / 1e6 : NaN) },
  ], lines));
}

const rowsOf = ({ steps, warm }: Work): number => steps[warm]!.reduce((n, d) => n + documentRows(d), 0);
