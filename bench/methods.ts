import { parseArgs } from 'node:util';
import { openGpu } from '../src/gpu/device.js';
import { matmulFlops } from '../src/gpu/program.js';
import type { Document } from '../src/model/batch/pack.js';
import { keyedUniform } from '../src/model/data/order.js';
import { Engine } from '../src/model/engine.js';
import { losses, LOSS_NAMES } from '../src/model/losses/index.js';
import type { LossDefinition } from '../src/model/losses/types.js';
import { OPTIMISE, randomModel } from './step_setup.js';
import { table } from './table.js';
import { ndjsonOut } from './ndjson_out.js';

const HELP = 'npm run bench -- methods [--hidden 64 --layers 4 --vocab 2000 --pairs 8 --length 240 --runs 7 --adapter auto --out FILE]\n';

/**
 * A training step of every method of pairs, its reference from a cache, random weights: median time over interleaved runs, relative to DPO in the same
 * round (so that a busy machine slows both), and the matrix products' FLOPs relative to DPO's. One NDJSON line a method.
 */
export async function run(argv: string[]): Promise<void> {
  const { values } = parseArgs({ args: argv, options: { hidden: { type: 'string', default: '64' }, layers: { type: 'string', default: '4' }, vocab: { type: 'string', default: '2000' }, pairs: { type: 'string', default: '8' }, length: { type: 'string', default: '240' }, runs: { type: 'string', default: '7' }, adapter: { type: 'string', default: 'auto' }, out: { type: 'string' }, help: { type: 'boolean' } } });
  if (values.help) {
    process.stderr.write(HELP);
    return;
  }
  const [hidden, layers, vocab, pairs, length, runs] = [values.hidden, values.layers, values.vocab, values.pairs, values.length, values.runs].map(Number) as [number, number, number, number, number, number];
  const gpu = await openGpu({ adapter: values.adapter });
  const policy = await randomModel(gpu, { hidden, layers, vocab }, 1, true);
  const head = await randomModel(gpu, { hidden, layers: 1, vocab }, 2, false);
  const third = Math.floor(length / 3);
  const ids = (seed: number): number[] => Array.from({ length: third }, (_, i) => Math.floor(keyedUniform(seed, i) * vocab));
  const documents: Document[] = Array.from({ length: pairs }, (_, i) => ({ id: i, prompt: ids(i * 3), branches: [ids(i * 3 + 1), ids(i * 3 + 2)] }));
  const [rows, scored] = [pairs * third * 3, pairs * third * 2];
  const cached = { logps: Float32Array.from({ length: scored }, (_, i) => -6 * keyedUniform(3, i)), hidden: Float32Array.from({ length: scored * hidden }, (_, i) => 2 * keyedUniform(4, i) - 1) };
  const cases = [];
  for (const name of LOSS_NAMES) {
    const loss: LossDefinition = losses[name];
    if (loss.needs.branches !== 2) continue;
    const needs = loss.needs.reference;
    const params: Record<string, number> = Object.fromEntries(Object.entries(loss.params).map(([key, { default: value }]) => [key, value]));
    // EXO has no default that is defined at 0.
    if (name === 'exo_pair') params['label_smoothing'] = 1e-3;
    const engine = await new Engine({
      gpu, policy, loss, training: true, capacity: { rows, sequences: Math.max(8, 2 * pairs) },
      reference: needs === 'none' ? { kind: 'none' } : { kind: 'cache', rounded: false, ...(needs === 'hidden' ? { head } : {}) },
      settings: { beta: 0.1, epsilonCheck: 0.01, epsilonSize: 0.01, criterion: 'exact', deadzone: 0, betaUpdate: 'harmonic', betaMin: 0, params, criterionColumns: false },
    }).ready();
    engine.setState(0.1);
    const reference = needs === 'none' ? undefined : needs === 'hidden' ? cached : { logps: cached.logps };
    const step = async (): Promise<number> => {
      const started = performance.now();
      const read = engine.microBatch(documents, reference, 1 / pairs, true, pairs / (scored / 2));
      const record = engine.optimise({ ...OPTIMISE, lr: 0 });
      await read();
      await record();
      return performance.now() - started;
    };
    await step();
    cases.push({ name, needs, step, flops: matmulFlops(engine.dispatches(documents)), times: [] as number[] });
  }
  for (let i = 0; i < runs; i++) for (const c of cases) c.times.push(await c.step());
  const median = (x: number[]): number => [...x].sort((a, b) => a - b)[Math.floor(x.length / 2)]!;
  const dpo = cases.find((c) => c.name === 'sigmoid')!;
  const lines = cases.map((c) => ({
    bench: 'methods', adapter: gpu.name, kind: gpu.kind, toggles: gpu.toggles, method: c.name, reference: c.needs, rows, hidden, layers, vocab, median_ms: median(c.times),
    relative_to_dpo: median(c.times.map((t, i) => t / dpo.times[i]!)), flops_relative_to_dpo: c.flops / dpo.flops,
  }));
  const emit = ndjsonOut(values.out);
  for (const line of lines) {
    emit(line);
  }
  process.stderr.write(table([
    { head: 'method', cell: (l: (typeof lines)[number]) => l.method },
    { head: 'reference', cell: (l) => l.reference },
    { head: 'ms', cell: (l) => l.median_ms },
    { head: 'of DPO', cell: (l) => l.relative_to_dpo },
    { head: 'FLOPs of DPO', cell: (l) => l.flops_relative_to_dpo },
  ], lines));
  gpu.close();
}
