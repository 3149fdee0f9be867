import { parseArgs } from 'node:util';
import { appendFileSync } from 'node:fs';
import { openGpu } from '../src/gpu/device.js';
import { Profiler, sumByLabel, kernelOf } from '../src/gpu/profile.js';
import { Engine } from '../src/model/engine.js';
import { modelSpec } from '../src/model/families/index.js';
import { parameterCount, parameterSpecs } from '../src/model/families/spec.js';
import { losses } from '../src/model/losses/index.js';
import { Parameters } from '../src/model/parameters.js';
import { keyedUniform } from '../src/model/data/order.js';
import type { Document } from '../src/model/batch/pack.js';
import { table } from './table.js';

const HELP = 'npm run bench -- step [--hidden 64 --layers 5 --vocab 512 --pairs 8 --length 400 --runs 5 --adapter auto --out FILE]\n';

/**
 * A training step of ε-DPO with the reference live, random weights: wall time, tokens/s, pairs/s, FLOP/s by 6N per row, and the share of the
 * step each kernel takes (timestamps, where the adapter has them). One NDJSON line for the step and one per kernel.
 */
export async function run(argv: string[]): Promise<void> {
  const { values } = parseArgs({ args: argv, options: { hidden: { type: 'string', default: '64' }, layers: { type: 'string', default: '5' }, vocab: { type: 'string', default: '512' }, pairs: { type: 'string', default: '8' }, length: { type: 'string', default: '400' }, runs: { type: 'string', default: '5' }, adapter: { type: 'string', default: 'auto' }, out: { type: 'string' }, help: { type: 'boolean' } } });
  if (values.help) {
    process.stderr.write(HELP);
    return;
  }
  const [D, L, V, pairs, length, runs] = [values.hidden, values.layers, values.vocab, values.pairs, values.length, values.runs].map(Number) as [number, number, number, number, number, number];
  const gpu = await openGpu({ adapter: values.adapter });
  const spec = modelSpec({ model_type: 'llama', hidden_size: D, intermediate_size: Math.round((D * 8) / 3 / 4) * 4, num_hidden_layers: L, num_attention_heads: 8, num_key_value_heads: 4, head_dim: Math.max(8, D / 8), vocab_size: V, tie_word_embeddings: true }, 'bench');
  const make = async (trainable: boolean, seed: number): Promise<Parameters> => {
    const parameters = new Parameters(gpu, spec, trainable, `bench${seed}`);
    const order = parameterSpecs(spec).map((p) => p.name);
    await parameters.load((p, first, rows) => {
      const width = p.shape[1] ?? 1;
      return Float32Array.from({ length: rows * width }, (_, i) => (p.shape.length === 1 ? 1 : (keyedUniform(seed, order.indexOf(p.name), first * width + i) - 0.5) / Math.sqrt(width)));
    });
    return parameters;
  };
  const policy = await make(true, 1);
  const reference = await make(false, 2);
  // A prompt of a third, two answers of a third each, as in HH.
  const third = Math.floor(length / 3);
  const ids = (seed: number): number[] => Array.from({ length: third }, (_, i) => Math.floor(keyedUniform(seed, i) * V));
  const documents: Document[] = Array.from({ length: pairs }, (_, i) => ({ id: i, prompt: ids(i * 3), branches: [ids(i * 3 + 1), ids(i * 3 + 2)] }));
  const rows = pairs * third * 3;
  const engine = await new Engine({
    gpu, policy, loss: losses.epsilon_dpo, reference: { kind: 'live', parameters: reference }, training: true, capacity: { rows, sequences: Math.max(8, pairs * 2) },
    settings: { beta: 0.1, epsilonCheck: 0.01, epsilonSize: 0.01, criterion: 'exact', deadzone: 0, betaUpdate: 'harmonic', betaMin: 0, params: { label_smoothing: 0 }, criterionColumns: false },
  }).ready();
  engine.setState(0.1);
  const optimise = { lr: 1e-5, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, maxGradNorm: 1, weightDecay: 0 };
  const step = async (): Promise<number> => {
    const started = performance.now();
    const read = engine.microBatch(documents, undefined, 1 / pairs, true);
    const record = engine.optimise(optimise);
    await read();
    await record();
    return performance.now() - started;
  };
  await step();
  const times: number[] = [];
  for (let i = 0; i < runs; i++) times.push(await step());
  const ms = times.sort((a, b) => a - b)[Math.floor(runs / 2)]!;
  const emit = (line: object): void => {
    const text = `${JSON.stringify({ bench: 'step', adapter: gpu.name, kind: gpu.kind, toggles: gpu.toggles, ...line })}\n`;
    if (values.out) appendFileSync(values.out, text);
    else process.stdout.write(text);
  };
  const N = parameterCount(spec);
  // Policy forward and backward 6N a row, the live reference 2N.
  emit({ parameters: N, rows, pairs, median_ms: ms, tokens_per_second: (rows / ms) * 1000, pairs_per_second: (pairs / ms) * 1000, flop_per_second: (8 * N * rows * 1000) / ms, gpu_bytes: gpu.bytesPeak });
  process.stderr.write(`${gpu.name}: ${rows} rows, ${pairs} pairs, ${ms.toFixed(1)} ms a step, ${((rows / ms) * 1000).toFixed(0)} tokens/s\n`);
  if (!Profiler.supported(gpu)) return;
  const shares = await engine.profileStep(documents, 1 / pairs, optimise, new Profiler(gpu));
  const labels = sumByLabel(shares, kernelOf);
  const total = labels.reduce((n, l) => n + l.ms, 0);
  for (const l of labels) emit({ kernel: l.label, ms: l.ms, share: l.ms / total, dispatches: l.dispatches });
  process.stderr.write(table([
    { head: 'kernel', cell: (l: (typeof labels)[number]) => l.label },
    { head: 'ms', cell: (l) => l.ms },
    { head: 'share %', cell: (l) => (100 * l.ms) / total },
    { head: 'dispatches', cell: (l) => l.dispatches },
  ], labels.slice(0, 20)));
}
