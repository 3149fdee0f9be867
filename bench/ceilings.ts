import { openGpu } from '../src/gpu/device.js';
import { toggleList } from '../src/gpu/toggles.js';
import { backEnd, matrixConfigs, matrixTile } from '../src/gpu/matrices.js';
import { bandwidths, dispatchCost, f32Rate, latencies, matrixRates } from './ceilings_measure.js';
import { table } from './table.js';
import { ADAPTER_OPTIONS, checkedOptions, parseBench } from './adapter_options.js';
import { ndjsonOut } from './ndjson_out.js';

const HELP = `npm run bench -- ceilings [--runs N] [--adapter NAME] [--toggles production|checked] [--out FILE]

What this adapter can do at best, measured: multiply-accumulates in registers for f32 and each matrix configuration, read and copy bandwidth, cost of a
dispatch with and without a barrier, latency of an upload and of a mapped read. The other benchmarks' shares are of such figures. NDJSON to stdout or FILE,
a table to stderr.
`;

export async function run(args: string[]): Promise<void> {
  const o = parseBench('ceilings', args, ADAPTER_OPTIONS);
  if (o.help) return void process.stderr.write(HELP);
  const { runs, toggles } = checkedOptions(o);
  const gpu = await openGpu({ toggles, ...(o.adapter ? { adapter: o.adapter } : {}) });
  const write = ndjsonOut(o.out, { fresh: true });
  const rows: Array<[string, number, string]> = [];
  const emit = (what: string, figures: object): void => write({ bench: 'ceilings', what, ...figures, adapter: gpu.name, adapter_kind: gpu.kind, driver: gpu.info.description, toggles: gpu.toggles });
  const tile = matrixTile(gpu);
  emit('adapter', {
    features: [...gpu.features], subgroup_sizes: [gpu.subgroupMin, gpu.subgroupMax], matrix_configs: matrixConfigs(gpu), back_end: typeof tile === 'string' ? `plain: ${tile}` : backEnd(tile),
    tile: typeof tile === 'string' ? null : tile, limits: gpu.limits, toggles_on: toggleList(gpu.toggles).enable, toggles_off: toggleList(gpu.toggles).disable,
  });
  const f32 = await f32Rate(gpu, runs);
  emit('mac', { component: 'f32', result: 'f32', tflops: f32 });
  rows.push(['multiply-add in f32', f32, 'TFLOP/s']);
  for (const rate of await matrixRates(gpu, runs)) {
    emit('mac', rate);
    rows.push([`matrices ${rate.component} to ${rate.result}, ${rate.M} x ${rate.N} x ${rate.K}`, rate.tflops, 'TFLOP/s']);
  }
  const bandwidth = await bandwidths(gpu, runs);
  emit('bandwidth', bandwidth);
  rows.push(['read', bandwidth.read_gbps, 'GB/s'], ['copy, both ways', bandwidth.copy_gbps, 'GB/s']);
  const cost = await dispatchCost(gpu, runs, gpu.kind === 'hardware' ? 1000 : 100);
  emit('dispatch', cost);
  for (const [name, us] of Object.entries(cost)) rows.push([`dispatch, ${name.replace('_us', '').replace('_', ', ')}`, us, 'µs']);
  const latency = await latencies(gpu, runs);
  emit('latency', latency);
  rows.push(['upload of 1 MiB, queue dry', latency.upload_ms, 'ms'], ['16 bytes mapped', latency.map_ms, 'ms']);
  process.stderr.write(`${gpu.name} (${gpu.kind}), ${gpu.toggles} toggles, ${typeof tile === 'string' ? `no matrix products: ${tile}` : backEnd(tile)}\n\n`);
  process.stderr.write(table([{ head: 'what', cell: (r: (typeof rows)[number]) => r[0] }, { head: 'figure', cell: (r) => r[1] }, { head: 'unit', cell: (r) => r[2] }], rows));
  gpu.close();
}
