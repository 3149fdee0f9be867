import t from 'tap';
import { tileFor } from '../../src/gpu/matrices.js';
import { OperandStore } from '../../src/gpu/operand_store.js';
import { GAIN_ROWS } from '../../src/gpu/ops/column_sums.js';
import { layerNorm, layerNormOperand } from '../../src/gpu/ops/layer_norm.js';
import { packedBytes } from '../../src/gpu/ops/operand_layout.js';
import { operand } from '../../src/gpu/ops/pack_f16.js';
import { rmsNorm, rmsNormBackward, rmsNormBackwardAdd, rmsNormBackwardOperand, rmsNormNext, rmsNormOperand } from '../../src/gpu/ops/rms_norm.js';
import type { FusedPath } from '../../src/gpu/paths.js';
import type { Program } from '../../src/gpu/program.js';
import { debugReadU32 } from '../../src/gpu/readback.js';
import { Dyn, type Tensor } from '../../src/gpu/tensor.js';
import { output, runOnce, testGpu, upload } from '../helpers/gpu.js';
import { normals } from '../helpers/rng.js';

/*
 * Norms written as operands, joined to another, or with their gain's gradient have the bits of the plain kernels on any adapter: no product meets a sum but in an fma, so a compiler
 * has nothing to contract in one and not in the other. test/ops/operands.test.ts has the products too, where there are f16 matrices; this wants none.
 */
const gpu = await testGpu();
const tile = tileFor({ MM: 8, MN: 8, MK: 8, SG: 8 }, gpu.limits);
const SHAPES = [[1, 4], [5, 36], [67, 172], [9, 1028], [40, 896]] as const;
const EPS = 1e-5;

type Recorder = (p: Program, kept: Record<string, Tensor>) => void;
/** `whole`: x itself is compared too. */
interface Case { x: string; gradient?: boolean; whole?: boolean; without?: FusedPath[] }

/** What `record` leaves in the tensors of `make`, and x as products read it: packed from f32, or as it is held. */
async function bits(N: number, D: number, { x, gradient = false, whole = false, without = [] }: Case, make: () => Record<string, Tensor>, record: Recorder): Promise<Record<string, Uint32Array>> {
  gpu.without = new Set(without);
  const store = new OperandStore(gpu, tile, 2, [{ bytes: packedBytes(N + 3, D, tile), count: 2 }], true);
  store.scales.write(Float32Array.of(0.25, 1024));
  store.lossScale!.write(Float32Array.of(4096, 0, 0, 0));
  const kept = make();
  let packed: Tensor | undefined;
  try {
    await runOnce(gpu, (p) => p.mixed(store, () => {
      record(p, kept);
      packed = operand(p, kept[x]!, gradient ? 1 : 0, { gradient }).packed;
    }), { N, measureScales: gradient ? 1 : 0 });
    const rest = Object.entries(kept).filter(([name]) => whole || name !== x);
    return Object.fromEntries([['operand', await debugReadU32(packed!)], ['scales', await debugReadU32(store.scales)], ['peaks', await debugReadU32(store.peaks!)], ...(await Promise.all(rest.map(async ([name, tensor]) => [name, await debugReadU32(tensor)])))] as Array<[string, Uint32Array]>);
  } finally {
    gpu.without = new Set();
    store.destroy();
  }
}

/** Inputs of so many rows, of several magnitudes, a common offset among them. */
function inputs(N: number, D: number) {
  const rows = new Dyn('N', N + 3);
  const of = (seed: number, scale: number, offset = 0): Tensor => upload(gpu, `in ${seed}`, [rows, D], normals(seed, (N + 3) * D, scale).map((v) => v + offset));
  const vector = (seed: number): Tensor => upload(gpu, `gain ${seed}`, [D], normals(seed, D));
  const out = (name: string): Tensor => output(gpu, name, [rows, D], 7);
  const each = (name: string): Tensor => output(gpu, name, [rows], 7);
  return { rows, x: of(N, 3, 1.7), add: of(N + 1, 1), dy: of(N + 2, 1e-3), gain: vector(N + 3), next: vector(N + 4), bias: vector(N + 5), out, each };
}
const partial = (N: number, D: number): Tensor => output(gpu, 'partial', [Math.ceil((N + 3) / GAIN_ROWS), D]);

for (const [N, D] of SHAPES) t.test(`norms of ${N} rows of ${D}, as subgroups of up to ${gpu.subgroupMax} sum them: one kernel’s bits are the other’s`, async (t) => {
  const { x, add, dy, gain, next, bias, out, each } = inputs(N, D);
  const same = (name: string, a: Record<string, Uint32Array>, b: Record<string, Uint32Array>): void => {
    for (const [key, want] of Object.entries(a)) {
      const at = want.findIndex((v, i) => v !== b[key]![i]);
      t.ok(at < 0, `${name}, ${key}: ${want.length} words${at < 0 ? '' : `; word ${at} is ${b[key]![at]}, expected ${want[at]}`}`);
    }
    t.ok(a['operand']!.some((v) => v !== 0));
  };
  const y: Case = { x: 'y' };
  const rms = () => ({ y: out('y'), rstd: each('rstd') });
  same('rms_norm', await bits(N, D, y, rms, (p, k) => rmsNorm(p, { x, gain, y: k['y']!, rstd: k['rstd']! }, EPS, 1)), await bits(N, D, y, rms, (p, k) => rmsNormOperand(p, { x, gain, y: k['y']!, rstd: k['rstd']! }, 0, EPS, 1)));

  const both = () => ({ y: out('h'), sum: out('sum'), rstd: each('rstd'), rstdNext: each('rstd') });
  const two: Recorder = (p, k) => {
    rmsNorm(p, { x, gain, add, y: k['sum']!, rstd: k['rstd']! }, EPS);
    rmsNorm(p, { x: k['sum']!, gain: next, y: k['y']!, rstd: k['rstdNext']! }, EPS);
  };
  const joined = (slot?: number): Recorder => (p, k) => rmsNormNext(p, { x, gain, add, y: k['sum']!, rstd: k['rstd']!, gainNext: next, h: k['y']!, rstdNext: k['rstdNext']! }, slot, EPS);
  const apart = await bits(N, D, y, both, two);
  same('rms_norm and the next', apart, await bits(N, D, y, both, joined()));
  same('rms_norm and the next as an operand', apart, await bits(N, D, y, both, joined(0)));

  const layer = () => ({ y: out('y'), mean: each('mean'), rstd: each('rstd') });
  const of = (k: Record<string, Tensor>) => ({ x, gain, bias, y: k['y']!, mean: k['mean']!, rstd: k['rstd']! });
  same('layer_norm', await bits(N, D, y, layer, (p, k) => layerNorm(p, { x, gain, bias, y: k['y']! }, EPS, { mean: k['mean']!, rstd: k['rstd']! })), await bits(N, D, y, layer, (p, k) => layerNormOperand(p, of(k), 0, EPS)));

  const rstd = upload(gpu, 'rstd', [new Dyn('N', N + 3)], normals(N + 6, N + 3).map(Math.abs));
  const back = () => ({ dx: out('dx'), dgain: output(gpu, 'dgain', [D], 2) });
  const down: Case = { x: 'dx', gradient: true };
  const written: Recorder = (p, k) => rmsNormBackward(p, { x, gain, rstd, dy, dx: k['dx']!, dgain: k['dgain'], partial: partial(N, D) }, 1, 'write');
  const asOperand: Recorder = (p, k) => rmsNormBackwardOperand(p, { x, gain, rstd, dy, dx: k['dx']!, dgain: k['dgain'], partial: partial(N, D) }, 1, 1);
  const plain = await bits(N, D, { ...down, without: ['norm_gain'] }, back, written);
  same('gradients, the gain’s as it goes', plain, await bits(N, D, down, back, written));
  same('gradients as an operand', plain, await bits(N, D, { ...down, without: ['norm_gain'] }, back, asOperand));
  same('gradients as an operand, the gain’s as it goes', plain, await bits(N, D, down, back, asOperand));
  const added: Recorder = (p, k) => rmsNormBackward(p, { x, gain, rstd, dy, dx: k['dx']!, dgain: k['dgain'], partial: partial(N, D) }, 1, 'add');
  const alone = await bits(N, D, { ...down, whole: true, without: ['norm_gain'] }, back, added);
  same('gradients added', alone, await bits(N, D, { ...down, whole: true }, back, added));
  const addedToo: Recorder = (p, k) => rmsNormBackwardAdd(p, { x, gain, rstd, dy, dx: k['dx']!, dgain: k['dgain'], partial: partial(N, D) }, 1, 1);
  for (const without of [[], ['norm_gain']] as FusedPath[][]) same('gradients added and packed', alone, await bits(N, D, { ...down, whole: true, without }, back, addedToo));
});
