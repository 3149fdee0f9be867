import { parseArgs } from 'node:util';
import { openGpu } from '../src/gpu/device.js';
import { losses } from '../src/model/losses/index.js';
import { median } from '../src/gpu/timing.js';
import { inventedPairs, inventedSpec } from './step_setup.js';
import { table } from './table.js';
import { ndjsonOut } from './ndjson_out.js';
import { timeSteps, trainingCase } from './training_case.js';

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
  const measure = async (pairs: number, vocab: number, runs: number): Promise<void> => {
    // A device of its own, so that its peak is this case's.
    const gpu = await openGpu({ adapter: values.adapter });
    const documents = inventedPairs(pairs, length, vocab);
    const c = await trainingCase({ gpu, spec: inventedSpec({ hidden, layers, vocab }), loss: losses.epsilon_dpo, params: { label_smoothing: 0 }, reference: 'live', dtype: 'float32', steps: Array.from({ length: runs + 1 }, () => documents), budget: pairs * length });
    const { rows } = c.capacity;
    const median_ms = median(await timeSteps(c, 1));
    const line: Line = { rows, vocab, gpu_bytes: gpu.bytesPeak, beyond_tables: gpu.bytesPeak - 5 * vocab * hidden * 4, median_ms, us_per_row: (1000 * median_ms) / rows };
    lines.push(line);
    emit({ bench: 'scaling', adapter: gpu.name, kind: gpu.kind, toggles: gpu.toggles, ...line });
    gpu.close();
  };
  for (const pairs of PAIRS) await measure(pairs, VOCABS[0]!, runs);
  await measure(PAIRS[0]!, VOCABS[1]!, 1);
  process.stderr.write(table([
    { head: 'rows', cell: (l: Line) => l.rows },
    { head: 'V', cell: (l) => l.vocab },
    { head: 'ms a step', cell: (l) => l.median_ms },
    { head: 'µs a row', cell: (l) => l.us_per_row },
    { head: 'MB', cell: (l) => l.gpu_bytes / 1e6 },
    { head: 'MB beyond tables', cell: (l) => l.beyond_tables / 1e6 },
  ], lines));
}
