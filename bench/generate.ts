import { parseArgs } from 'node:util';
import { openGpu } from '../src/gpu/device.js';
import { parameterCount } from '../src/model/families/spec.js';
import { Generator } from '../src/model/generate/generator.js';
import { keyedUniform } from '../src/model/data/order.js';
import { ceiling } from './ceiling.js';
import { randomModel } from './step_setup.js';
import { table } from './table.js';
import { ndjsonOut } from './ndjson_out.js';

const HELP = 'npm run bench -- generate [--hidden 64 --layers 5 --vocab 512 --prompt 64 --tokens 64 --batches 1,4,16,64 --adapter auto --out FILE]\n';

interface Line {
  batch: number;
  sequences: number;
  tokens_per_second: number;
  ms_per_pass: number;
  gflops: number;
  share_of_matmul: number;
  share_of_bandwidth: number;
}

/**
 * Sampling with the KV cache, random weights, twice as many prompts as slots (a finished answer makes room for the next): new tokens a second by
 * batch size, and the shares of the adapter's plain f32 matmul (2N a token) and of its copy rate (every weight read once a pass).
 */
export async function run(argv: string[]): Promise<void> {
  const { values } = parseArgs({ args: argv, options: { hidden: { type: 'string', default: '64' }, layers: { type: 'string', default: '5' }, vocab: { type: 'string', default: '512' }, prompt: { type: 'string', default: '64' }, tokens: { type: 'string', default: '64' }, batches: { type: 'string', default: '1,4,16,64' }, adapter: { type: 'string', default: 'auto' }, out: { type: 'string' }, help: { type: 'boolean' } } });
  if (values.help) {
    process.stderr.write(HELP);
    return;
  }
  const [hidden, layers, vocab, length, tokens] = [values.hidden, values.layers, values.vocab, values.prompt, values.tokens].map(Number) as [number, number, number, number, number];
  const gpu = await openGpu({ adapter: values.adapter });
  const top = await ceiling(gpu, 3);
  const weights = await randomModel(gpu, { hidden, layers, vocab }, 1, false);
  const N = parameterCount(weights.spec);
  const emit = ndjsonOut(values.out);
  const lines: Line[] = [];
  for (const batch of values.batches.split(',').map(Number)) {
    const generator = await new Generator(gpu, weights, batch, length + tokens, Math.max(length, batch) * 2).ready();
    const requests = Array.from({ length: batch * 2 }, (_, index) => ({ index, prompt: Array.from({ length }, (_, i) => Math.floor(keyedUniform(index, i) * vocab)) }));
    const options = { temperature: 1, topP: 1, topK: 0, seed: 1, maxNewTokens: tokens, stopIds: new Set<number>() };
    await generator.run(requests.slice(0, 1), { ...options, maxNewTokens: 2 }, () => undefined);
    let made = 0;
    const started = performance.now();
    await generator.run(requests, options, (g) => (made += g.ids.length));
    const ms = performance.now() - started;
    const gflops = (2 * N * (made + requests.length * length)) / ms / 1e6;
    const passes = made / batch;
    const line: Line = { batch, sequences: requests.length, tokens_per_second: (1000 * made) / ms, ms_per_pass: ms / passes, gflops, share_of_matmul: gflops / top.gflops, share_of_bandwidth: (4 * N * passes) / ms / 1e6 / top.gbps };
    lines.push(line);
    emit({ bench: 'generate', adapter: gpu.name, kind: gpu.kind, toggles: gpu.toggles, parameters: N, ceiling_gflops: top.gflops, ceiling_gbps: top.gbps, ...line });
  }
  process.stderr.write(`${gpu.name}: plain f32 matmul ${top.gflops.toFixed(2)} GFLOP/s, copy ${top.gbps.toFixed(2)} GB/s\n${table([
    { head: 'batch', cell: (l: Line) => l.batch },
    { head: 'tokens/s', cell: (l) => l.tokens_per_second },
    { head: 'ms a pass', cell: (l) => l.ms_per_pass },
    { head: 'GFLOP/s', cell: (l) => l.gflops },
    { head: 'of matmul %', cell: (l) => 100 * l.share_of_matmul },
    { head: 'of copy %', cell: (l) => 100 * l.share_of_bandwidth },
  ], lines)}`);
  gpu.close();
}
