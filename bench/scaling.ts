import { parseArgs } from 'node:util';
import { openGpu } from '../src/gpu/device.js';
import { medianStep, stepCase, type StepShape } from './step_setup.js';
import { table } from './table.js';
import { ndjsonOut } from './ndjson_out.js';

const HELP = 'npm run bench -- scaling [--hidden 64 --layers 5 --length 400 --runs 3 --adapter auto --out FILE]\n';
const VOCABS = [512, 65_536];
const PAIRS = [4, 8, 16, 32];

interface Line {
  rows: number;
  vocab: number;
  /** Bytes on the GPU in all, and without the vocabulary tables (policy with gradient and two moments, reference). */
  gpu_bytes: number;
  beyond_tables: number;
  median_ms: number;
  us_per_row: number;
}

/**
 * How a step grows: its time with the rows at a fixed document length, and its memory with the vocabulary. The live reference is there, so the
 * tables are 5 V D floats: policy, gradient, two moments, reference (tied heads).
 */
export async function run(argv: string[]): Promise<void> {
  const { values } = parseArgs({ args: argv, options: { hidden: { type: 'string', default: '64' }, layers: { type: 'string', default: '5' }, length: { type: 'string', default: '400' }, runs: { type: 'string', default: '3' }, adapter: { type: 'string', default: 'auto' }, out: { type: 'string' }, help: { type: 'boolean' } } });
  if (values.help) {
    process.stderr.write(HELP);
    return;
  }
  const [hidden, layers, length, runs] = [values.hidden, values.layers, values.length, values.runs].map(Number) as [number, number, number, number];
  const lines: Line[] = [];
  const emit = ndjsonOut(values.out);
  const measure = async (shape: StepShape, runs: number): Promise<void> => {
    // A device of its own, so that its peak is this case's.
    const gpu = await openGpu({ adapter: values.adapter });
    const c = await stepCase(gpu, shape);
    const median_ms = await medianStep(c, runs);
    const line: Line = { rows: c.rows, vocab: shape.vocab, gpu_bytes: gpu.bytesPeak, beyond_tables: gpu.bytesPeak - 5 * shape.vocab * hidden * 4, median_ms, us_per_row: (1000 * median_ms) / c.rows };
    lines.push(line);
    emit({ bench: 'scaling', adapter: gpu.name, kind: gpu.kind, toggles: gpu.toggles, ...line });
    gpu.close();
  };
  for (const pairs of PAIRS) await measure({ hidden, layers, length, pairs, vocab: VOCABS[0]! }, runs);
  await measure({ hidden, layers, length, pairs: PAIRS[0]!, vocab: VOCABS[1]! }, 1);
  process.stderr.write(table([
    { head: 'rows', cell: (l: Line) => l.rows },
    { head: 'V', cell: (l) => l.vocab },
    { head: 'ms a step', cell: (l) => l.median_ms },
    { head: 'µs a row', cell: (l) => l.us_per_row },
    { head: 'MB', cell: (l) => l.gpu_bytes / 1e6 },
    { head: 'MB beyond tables', cell: (l) => l.beyond_tables / 1e6 },
  ], lines));
}
