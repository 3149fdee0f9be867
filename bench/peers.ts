import { parseArgs } from 'node:util';
import { EdpoError } from '../src/errors.js';
import { openGpu } from '../src/gpu/device.js';
import { matrixTile } from '../src/gpu/matrices.js';
import { measurePeer, type PeerCase } from './peers_case.js';
import { joinPeers } from './peers_table.js';
import { peerSpec, readTokens, writeTokens } from './peers_tokens.js';
import { ndjsonOut } from './ndjson_out.js';

const HELP = `npm run bench -- peers --model NAME --lengths hh|ultrafeedback --tokens FILE [--pairs 32 --warm 2 --steps 5 --seconds 60 --budget 16384 --out FILE]
  [--dtypes float32,mixed_f16 --methods sigmoid,epsilon_dpo --shapes shared,apart --adapter auto --rehearsal]
npm run bench -- peers --write FILE --model NAME --lengths NAME [--scale 1]      the token file
npm run bench -- peers --join FOLDER                                            edpo's and the peers' lines side by side
bench/peers/run.sh does all of it; bench/peers/README.md says what is measured\n`;

/** Training steps at the shapes and on the token ids of bench/peers/torch_peers.py, and the table of both. One NDJSON line a case. */
export async function run(argv: string[]): Promise<void> {
  const text = (value: string) => ({ type: 'string' as const, default: value });
  const { values } = parseArgs({ args: argv, options: {
    model: { type: 'string' }, lengths: text('hh'), tokens: { type: 'string' }, pairs: text('32'), warm: text('2'), steps: text('5'), seconds: text('60'), budget: text('16384'), dtypes: text('float32,mixed_f16'), methods: text('sigmoid,epsilon_dpo'),
    shapes: text('shared,apart'), adapter: text('auto'), out: { type: 'string' }, write: { type: 'string' }, scale: text('1'), join: { type: 'string' }, rehearsal: { type: 'boolean', default: false }, help: { type: 'boolean' },
  } });
  if (values.join) {
    process.stdout.write(joinPeers(values.join));
    return;
  }
  // Without arguments (all benchmarks in a row) there is nothing to compare with.
  if (values.help || (!values.model && !values.tokens && !values.write)) {
    process.stderr.write(HELP);
    return;
  }
  if (!values.model) throw new EdpoError('which model’s shape? --model is missing', { hint: '--model qwen2.5-0.5b', exitCode: 2 });
  const spec = peerSpec(values.model);
  if (values.write) {
    writeTokens(values.write, values.lengths, spec.V, Number(values.scale));
    return;
  }
  if (!values.tokens) throw new EdpoError('which token ids? --tokens is missing', { hint: `npm run bench -- peers --write tokens.jsonl --model ${values.model} --lengths ${values.lengths}`, exitCode: 2 });
  const { pairs, sha256 } = readTokens(values.tokens);
  const [perStep, warm, steps, seconds, budget] = [values.pairs, values.warm, values.steps, values.seconds, values.budget].map(Number) as [number, number, number, number, number];
  const failed: string[] = [];
  const emit = ndjsonOut(values.out);
  for (const dtype of values.dtypes.split(',')) {
    for (const method of values.methods.split(',')) {
      for (const shape of values.shapes.split(',')) {
        // A device of its own, so that its peak is this case's.
        const gpu = await openGpu({ adapter: values.adapter });
        try {
          const software = gpu.kind !== 'hardware';
          if (software && !values.rehearsal) throw new EdpoError(`"${gpu.name}" is a software adapter, and its figures are not a GPU’s`, { hint: '--rehearsal runs it all the same and says so in every line', exitCode: 2 });
          const tile = matrixTile(gpu);
          if (dtype === 'mixed_f16' && typeof tile === 'string') {
            process.stderr.write(`${values.model} edpo mixed_f16: left out, ${tile}\n`);
            continue;
          }
          const c: PeerCase = { gpu, spec, pairs, perStep, warm, steps, seconds, budget, dtype: dtype as PeerCase['dtype'], method: method as PeerCase['method'], shared: shape === 'shared' };
          const measured = await measurePeer(c);
          emit({
            bench: 'peers', system: 'edpo', model: values.model, lengths: values.lengths, method, dtype, shape, pairs: perStep, tokens_sha256: sha256, rehearsal: values.rehearsal || software,
            device: gpu.name, card: gpu.info.device, kind: gpu.kind, toggles: gpu.toggles, ...measured,
          });
          process.stderr.write(`${values.model} ${values.lengths} edpo ${dtype} ${method} ${shape}: ${measured.pairs_per_second.toPrecision(3)} pairs/s\n`);
        } catch (error) {
          if (!(error instanceof EdpoError) || error.exitCode === 2) throw error;
          // Out of memory, say: the other cases may fit.
          failed.push(`${dtype} ${method} ${shape}`);
          process.stderr.write(`${values.model} ${values.lengths} edpo ${failed.at(-1)}: ${error.message}\n`);
        } finally {
          gpu.close();
        }
      }
    }
  }
  if (failed.length > 0) throw new EdpoError(`no figure for ${failed.join(', ')}`);
}
