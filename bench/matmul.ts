import { InputError } from '../src/errors.js';
import { openGpu, PLAIN_FORMS, type Gpu, type PlainForm } from '../src/gpu/device.js';
import { matrixRefusal, matrixTile, type MatrixTile } from '../src/gpu/matrices.js';
import { OperandStore } from '../src/gpu/operand_store.js';
import { plainForm } from '../src/gpu/ops/matmul.js';
import { plainRefusal, threadsOf, tiledPlan } from '../src/gpu/ops/matmul_tiled.js';
import { packedBytes } from '../src/gpu/ops/operand_layout.js';
import type { Tensor } from '../src/gpu/tensor.js';
import { bandwidths, f32Rate, matrixRates } from './ceilings_measure.js';
import { matmulCase, type KernelCase } from './kernels_cases.js';
import { timeCase } from './kernels_time.js';
import { table } from './table.js';
import { parseBench } from './adapter_options.js';
import { ndjsonOut } from './ndjson_out.js';

const HELP = `npm run bench -- matmul [--shapes 2048x896x896,4096x4096x4096] [--sweep] [--plain tiled:128x128x16/2x2,patches]
    [--only plain|matrix] [--forms nt,nn,tn] [--runs N] [--adapter NAME] [--out FILE]

Products of M x O x I in f32 (plain) and, where the adapter has them, in f16 matrices with f32 sums: the three forms of a linear layer, the packing of
their operands left out where the adapter has timestamps. GFLOP/s, and the share of the multiply-accumulate ceiling measured in the same run. --sweep tries other tiles on a GPU.
--plain names the ways of the plain products to try: patches, lanes, tiled, or tiled with a tile of BM x BN results in steps of BK, RM x RN quads a thread.
`;

const OPTIONS = { shapes: { type: 'string', default: '' }, sweep: { type: 'boolean', default: false }, plain: { type: 'string', default: '' }, only: { type: 'string', default: '' }, forms: { type: 'string', default: 'nt,nn,tn' }, runs: { type: 'string', default: '5' }, adapter: { type: 'string', default: 'auto' }, out: { type: 'string' }, help: { type: 'boolean', default: false } } as const;

type Form = 'nt' | 'nn' | 'tn';
const FORMS: Form[] = ['nt', 'nn', 'tn'];

type Products = NonNullable<Gpu['products']>;

/** A way of --plain. @throws InputError where it is none, or takes more than the adapter has */
function productsOf(gpu: Gpu, text: string): Products {
  const [form, tile] = text.split(':');
  const sizes = tile === undefined ? [] : (/^(\d+)x(\d+)x(\d+)\/(\d+)x(\d+)$/.exec(tile) ?? []).slice(1).map(Number);
  if (!PLAIN_FORMS.some((f) => f === form) || (tile !== undefined && (form !== 'tiled' || sizes.length !== 5))) throw new InputError(`--plain ${text}: expected ${PLAIN_FORMS.join(', ')} or tiled:BMxBNxBK/RMxRN`);
  if (tile === undefined) return { form: form as PlainForm };
  const [BM, BN, BK, RM, RN] = sizes as [number, number, number, number, number];
  const t = { BM, BN, BK, RM, RN };
  const why = plainRefusal(t, gpu.limits);
  if (why) throw new InputError(`--plain ${text}: ${why}`);
  return { form: 'tiled', tile: t };
}

/** What --sweep tries of the tiled form. */
function plainSweep(gpu: Gpu): Products[] {
  const found: Products[] = [];
  for (const BM of [64, 128]) for (const BN of [64, 128]) for (const BK of [8, 16, 32]) for (const [RM, RN] of [[1, 2], [2, 1], [2, 2], [2, 4], [4, 2]] as const) {
    const tile = { BM, BN, BK, RM, RN };
    if (threadsOf(tile) <= 256 && !plainRefusal(tile, gpu.limits)) found.push({ form: 'tiled', tile });
  }
  return found;
}

/** How a plain product of these sizes is made. */
function wayOf(gpu: Gpu, form: Form, [M, O, I]: [number, number, number]): string {
  const plain = plainForm(gpu);
  if (plain !== 'tiled') return plain;
  const { tile: t, chunk } = form === 'tn' ? tiledPlan(form, O, I, M, { forced: gpu.products?.tile, large: gpu.tuned?.plain }) : tiledPlan(form, M, form === 'nt' ? O : I, form === 'nt' ? I : O, { forced: gpu.products?.tile, large: gpu.tuned?.plain });
  return `tiled ${t.BM}x${t.BN}x${t.BK}/${t.RM}x${t.RN}${form === 'tn' && chunk < M ? ` by ${chunk} rows` : ''}`;
}

/** Square ones of webgpu-kernel folklore, then tokens x outputs x inputs of models of 0.5, 1.5 and 2 billion parameters. */
const HARDWARE: Array<[number, number, number]> = [
  [1024, 1024, 1024], [2048, 2048, 2048], [4096, 4096, 4096], [8192, 8192, 8192],
  [4096, 896, 896], [16384, 896, 896], [16384, 4864, 896], [16384, 896, 4864], [16384, 8960, 1536], [16384, 1536, 8960], [16384, 9216, 2304],
];
const SOFTWARE: Array<[number, number, number]> = [[128, 128, 128], [256, 64, 172]];

/** The same product as `matmulCase`, through f16 operands. */
function mixedCase(gpu: Gpu, form: Form, [M, O, I]: [number, number, number], tile: MatrixTile, stores: OperandStore[]): KernelCase {
  const plain = matmulCase(form, M, O, I);
  return {
    ...plain,
    kernel: `matmul.matrix_${form}`,
    bytes: 4 * M * O + 2 * (M * I + O * I) * (form === 'tn' ? 2 : 1),
    record(p, make) {
      const store = new OperandStore(gpu, tile, 3, [{ bytes: packedBytes(M, Math.max(O, I), tile), count: 2 }], false);
      stores.push(store);
      const register = (shape: Parameters<typeof make>[0]): Tensor => {
        const tensor = make(shape);
        if (shape[0] === O && shape[1] === I) store.add(tensor, undefined, { weight: 0, input: 1, gradient: 2 });
        return tensor;
      };
      p.mixed(store, () => plain.record(p, Object.assign(register, { packed: make.packed, freed: make.freed })));
    },
  };
}

/** Tiles a sweep tries: what fits the limits and whose loads divide evenly. */
function tiles(gpu: Gpu, base: MatrixTile): MatrixTile[] {
  const found: MatrixTile[] = [];
  for (const BM of [64, 128, 256]) for (const BN of [64, 128, 256]) for (const BK of [16, 32, 64]) for (const [WM, WN] of [[1, 2], [2, 2], [2, 4], [4, 2]] as const) {
    const t = { ...base, BM, BN, BK, WM, WN };
    if (matrixRefusal(t, gpu.limits) === undefined) found.push(t);
  }
  return found;
}

interface Line { kernel: string; shape: string; tile: string; ms: number; gflops: number; share: number }

export async function run(args: string[]): Promise<void> {
  const o = parseBench('matmul', args, OPTIONS);
  if (o.help) return void process.stderr.write(HELP);
  const runs = Number(o.runs);
  const gpu = await openGpu({ adapter: o.adapter });
  const shapes = o.shapes === '' ? (gpu.kind === 'hardware' ? HARDWARE : SOFTWARE) : o.shapes.split(',').map((s) => s.split('x').map(Number) as [number, number, number]);
  if (shapes.some((s) => s.length !== 3 || s.some((n) => !Number.isInteger(n) || n < 1))) throw new InputError(`--shapes ${o.shapes}: expected MxOxI,...`);
  const forms = o.forms.split(',') as Form[];
  if (forms.some((f) => !FORMS.includes(f))) throw new InputError(`--forms ${o.forms}: expected some of ${FORMS.join(',')}`);
  if (!['', 'plain', 'matrix'].includes(o.only)) throw new InputError(`--only ${o.only}: expected plain or matrix`);
  const usual = gpu.products;
  const ways = o.plain !== '' ? o.plain.split(',').map((text) => productsOf(gpu, text)) : [usual, ...(o.sweep && gpu.kind === 'hardware' ? plainSweep(gpu) : [])];
  const base = o.only === 'plain' ? 'not asked for' : matrixTile(gpu);
  const top = { gflops: 1e3 * (await f32Rate(gpu, runs)), gbps: (await bandwidths(gpu, runs)).copy_gbps };
  const mac = Math.max(0, ...(typeof base === 'string' ? [] : await matrixRates(gpu, runs)).filter((r) => r.component === 'f16' && r.result === 'f32').map((r) => r.tflops * 1e3));
  const lines: Line[] = [];
  const write = ndjsonOut(o.out);
  const emit = (record: object): void => write({ bench: 'matmul', ...record, adapter: gpu.name, adapter_kind: gpu.kind, driver: gpu.info.description, toggles: gpu.toggles });
  emit({ kernel: 'ceiling', plain_gflops: top.gflops, matrix_gflops: mac, copy_gbps: top.gbps });
  const time = async (c: KernelCase, tile: string, of: number): Promise<void> => {
    const { ms, clock } = await timeCase(gpu, c, runs, /matmul\.|split_sum/);
    const line = { kernel: c.kernel, shape: c.shape, tile, ms, gflops: c.flops / ms / 1e6, share: c.flops / ms / 1e6 / of };
    lines.push(line);
    emit({ ...line, clock });
  };
  for (const shape of shapes) for (const form of forms) {
    for (const way of o.only === 'matrix' ? [] : ways) {
      gpu.products = way;
      await time(matmulCase(form, ...shape), wayOf(gpu, form, shape), top.gflops);
    }
    gpu.products = usual;
    if (typeof base === 'string') continue;
    for (const tile of o.sweep && gpu.kind === 'hardware' ? tiles(gpu, base) : [base]) {
      const stores: OperandStore[] = [];
      await time(mixedCase(gpu, form, shape, tile, stores), `${tile.BM}x${tile.BN}x${tile.BK}/${tile.WM}x${tile.WN}`, mac);
      for (const s of stores) s.destroy();
    }
  }
  process.stderr.write(`${gpu.name} (${gpu.kind}): multiply-add in registers: f32 ${top.gflops.toFixed(2)}, f16 matrices ${mac.toFixed(2)} GFLOP/s${typeof base === 'string' ? ` (no matrix products: ${base})` : ''}\n\n`);
  process.stderr.write(table([
    { head: 'kernel', cell: (l: Line) => l.kernel }, { head: 'shape', cell: (l) => l.shape }, { head: 'tile', cell: (l) => l.tile },
    { head: 'ms', cell: (l) => l.ms }, { head: 'GFLOP/s', cell: (l) => l.gflops }, { head: 'share', cell: (l) => l.share },
  ], lines));
  gpu.close();
}
