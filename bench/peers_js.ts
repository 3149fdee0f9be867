import { readFileSync } from 'node:fs';
import { EdpoError, InputError } from '../src/errors.js';
import { openGpu, type AdapterKind } from '../src/gpu/device.js';
import { ADAPTER_OPTIONS, checkedOptions, parseBench } from './adapter_options.js';
import { f32Rate } from './ceilings_measure.js';
import { ndjsonOut } from './ndjson_out.js';
import { TOLERANCE } from './peers_js_case.js';
import { edpoSystem } from './peers_js_edpo.js';
import { INSTALL, LIBRARIES, loadLibrary, showAdapter, type LibraryName } from './peers_js_load.js';
import { peerCases, race } from './peers_js_race.js';
import { table } from './table.js';

const HELP = `npm run bench -- peers_js [--shapes 512x512x512,...] [--blocks 2x128x256x4,...] [--systems jax-js,tfjs] [--runs N] [--adapter NAME] [--toggles production|checked] [--out FILE]

edpo beside @jax-js/jax and @tensorflow/tfjs-backend-webgpu on the same adapter in one process, all in f32: products of rows x outputs x inputs in the three forms of a
linear layer, and a GPT-2 block (sequences x tokens x width x heads) with its last norm, forward and forward with all gradients. Every system has the same numbers; its results are held
against edpo's first (each tensor within ${TOLERANCE} of its norm), and what differs is not timed. Runs take turns, so that other work on the machine slows all. Time is the clock's
from the call until the device is done. NDJSON to stdout or FILE, a table to stderr. The libraries are no dependencies:

  ${INSTALL}
`;

const OPTIONS = { ...ADAPTER_OPTIONS, shapes: { type: 'string', default: '' }, blocks: { type: 'string', default: '' }, systems: { type: 'string', default: 'jax-js,tfjs' }, libraries: { type: 'string' } } as const;

const FORMS = { shapes: 'ROWSxOUTPUTSxINPUTS', blocks: 'SEQUENCESxTOKENSxWIDTHxHEADS' };
const USUAL = {
  hardware: { shapes: '512x512x512,2048x2048x2048,4096x768x768,4096x3072x768,4096x768x3072', blocks: '4x1024x768x12' },
  software: { shapes: '512x512x512,256x768x256,256x256x768', blocks: '2x128x256x4' },
};

/** --shapes and --blocks as numbers, or what is usual on this kind of adapter where they are empty. @throws InputError where they are none */
export function peerSizes(o: { shapes: string; blocks: string }, kind: AdapterKind): { shapes: number[][]; blocks: number[][] } {
  const numbers = (option: keyof typeof FORMS): number[][] => (o[option] || USUAL[kind === 'hardware' ? kind : 'software'][option]).split(',').map((text) => {
    const found = text.split('x').map(Number);
    if (found.length !== FORMS[option].split('x').length || found.some((v) => !Number.isInteger(v) || v < 1)) throw new InputError(`--${option} ${text}: expected ${FORMS[option]}, whole numbers from 1`);
    return found;
  });
  const [shapes, blocks] = [numbers('shapes'), numbers('blocks')];
  const uneven = blocks.find(([, , D, H]) => D! % H! !== 0);
  if (uneven) throw new InputError(`--blocks ${uneven.join('x')}: a width of ${uneven[2]} is not a multiple of ${uneven[3]} heads`);
  return { shapes, blocks };
}

interface Line { what: string; shape: string; system: string; ms: number; of_edpo: number; gflops: number; share: number; difference: number; difference_in: string }

export async function run(args: string[]): Promise<void> {
  const o = parseBench('peers_js', args, OPTIONS);
  if (o.help) return void process.stderr.write(HELP);
  const { runs, toggles } = checkedOptions(o);
  const wanted = o.systems.split(',').filter((name) => name !== '');
  const unknown = wanted.find((name) => !(name in LIBRARIES));
  if (unknown) throw new InputError(`--systems ${unknown}: expected some of ${Object.keys(LIBRARIES).join(',')}`);
  // Before a device is opened: what is asked for is wrong on any.
  peerSizes(o, 'software');
  const gpu = await openGpu({ toggles, ...(o.adapter ? { adapter: o.adapter } : {}) });
  const { shapes, blocks } = peerSizes(o, gpu.kind);
  showAdapter(o.adapter ?? process.env['EDPO_ADAPTER'] ?? 'auto', toggles);
  const edpo = (JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }).version;
  const systems = [edpoSystem(gpu, edpo)];
  const wrong: string[] = [];
  for (const name of wanted as LibraryName[]) {
    try {
      const system = await loadLibrary(gpu, name, o.libraries);
      if (typeof system !== 'string') systems.push(system);
      else process.stderr.write(`${name}: left out, ${system} is not installed (${INSTALL})\n`);
    } catch (error) {
      wrong.push(`${name}: ${(error as Error).message.split('\n')[0]!}`);
      process.stderr.write(`${wrong.at(-1)}\n`);
    }
  }
  const about = { adapter: gpu.name, adapter_kind: gpu.kind, driver: gpu.info.description, toggles };
  const emit = ndjsonOut(o.out, { fresh: true });
  const top = 1e3 * (await f32Rate(gpu, runs));
  emit({ bench: 'peers_js', what: 'ceiling', gflops: top, systems: systems.map(({ name, version }) => ({ name, version })), tolerance: TOLERANCE, ...about });
  const lines: Line[] = [];
  for (const c of peerCases(shapes, blocks)) {
    const found = await race(c, systems, runs);
    for (const { system, reason, ...line } of found) {
      if (reason !== undefined) {
        wrong.push(`${c.what} ${c.shape} ${system}: ${reason}`);
        process.stderr.write(`${wrong.at(-1)}\n`);
      } else lines.push({ ...line, system, what: c.what, shape: c.shape, gflops: c.flops / line.ms / 1e6, share: c.flops / line.ms / 1e6 / top });
      const { name, version } = systems.find((s) => s.name === system)!;
      emit({ bench: 'peers_js', ...(reason === undefined ? lines.at(-1) : { what: c.what, shape: c.shape, difference: line.difference, failed: reason }), system: name, version, ...about });
    }
  }
  process.stderr.write(`${gpu.name} (${gpu.kind}), ${toggles} toggles: multiply-add in registers ${top.toFixed(2)} GFLOP/s\n\n`);
  process.stderr.write(table([
    { head: 'what', cell: (l: Line) => l.what }, { head: 'shape', cell: (l) => l.shape }, { head: 'system', cell: (l) => l.system },
    { head: 'ms', cell: (l) => l.ms }, { head: 'of edpo', cell: (l) => l.of_edpo }, { head: 'GFLOP/s', cell: (l) => l.gflops }, { head: 'share', cell: (l) => l.share }, { head: 'differs by', cell: (l) => l.difference.toExponential(1) },
  ], lines));
  for (const s of systems.slice(1)) s.close();
  gpu.close();
  if (wrong.length > 0) throw new EdpoError(`no figure for ${wrong.join('; ')}`, toggles === 'production' ? { hint: '--toggles checked: a library may count on the bounds checks that these toggles leave out' } : {});
}
