import { readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { dynamicMap } from '../../src/model/packing/dynamic_map.js';
import { gradNorm, gradNormSlots, stepState } from '../../src/gpu/ops/grad_norm.js';
import { Program, type StepValues } from '../../src/gpu/program.js';
import { debugReadU32 } from '../../src/gpu/readback.js';
import { Tensor } from '../../src/gpu/tensor.js';
import { decode16 } from '../../src/model/files/float_formats.js';
import { OPTIMISER_NAMES, optimisers, type OptimiserName } from '../../src/model/optim/index.js';
import type { PieceShape, TrainedTensor } from '../../src/model/optim/types.js';
import { close } from '../helpers/close.js';
import { output, read, testGpu } from '../helpers/gpu.js';
import * as twin from '../reference/optim.js';
import { adamw as adamwTwin } from '../reference/small_ops.js';

interface Golden {
  maps: Record<'signed' | 'unsigned', number[]>;
  cases: Record<string, number[][]>;
}
const golden = JSON.parse(readFileSync('test/goldens/optim.json', 'utf8')) as Golden;
const maps = { signed: dynamicMap(true), unsigned: dynamicMap(false) };

/** The numbers of make_optim.py. */
const values = (size: number, n: number, scaled = false): Float32Array =>
  Float32Array.from({ length: size }, (_, i) => Math.sin(0.7 + 12.9898 * (i + 1) + 78.233 * n) * (scaled ? 0.1 * 10 ** Math.sin(i + 1) : 1));

const O = { lr: 0.01, beta1: 0.9, beta2: 0.999, adamEpsilon: 1e-8, weightDecay: 0.1, maxGradNorm: 0 };
const SHAPES: Record<string, number[][]> = { matrix: [[70, 90]], pieces: [[40, 90], [30, 90]], vector: [[40]] };

/** Tensors with an optimiser over them, as a run has them; `pieces` is the matrix in two. */
async function setUp(name: OptimiserName, kinds: string[], { momentum = 0, packed = false, embedding = false } = {}) {
  const gpu = await testGpu();
  const tensors = kinds.map((kind): TrainedTensor => {
    const list = SHAPES[kind]!;
    const elements = list.reduce((n, s) => n + s.reduce((a, b) => a * b), 0);
    const pieces = list.map((shape, index) => {
      const piece: PieceShape = { shape, elements, index, embedding };
      const state = Object.fromEntries(optimisers[name].state(piece, { momentum }).map((s) => {
        const tensor = new Tensor(gpu, s.name, s.shape, s.type);
        tensor.write(new Uint32Array(tensor.elements));
        return [s.name, tensor];
      }));
      return { ...piece, value: new Tensor(gpu, kind, packed ? [elements / list.length / 2] : shape, packed ? 'u32' : 'f32'), grad: output(gpu, `d ${kind}`, shape), state };
    });
    return { name: kind, shape: list[0]!, number: kinds.indexOf(kind), pieces };
  });
  const all = tensors.flatMap((x) => x.pieces);
  const grads = all.map(({ grad }) => grad);
  const [partials, state] = [output(gpu, 'partials', [gradNormSlots(grads)]), output(gpu, 'step_state', [16])];
  const program = new Program(gpu, 'optimiser');
  gradNorm(program, { grads, partials });
  stepState(program, { partials, stepState: state }, { maxNorm: O.maxGradNorm, beta1: O.beta1, beta2: O.beta2, oneMinusBeta1: 1 - O.beta1, oneMinusBeta2: 1 - O.beta2 });
  optimisers[name].record(program, tensors, state, { momentum });
  const fill = (tensor: TrainedTensor, data: Float32Array, of: 'value' | 'grad'): void => {
    let at = 0;
    for (const piece of tensor.pieces) at += (piece[of].write(data.subarray(at, at + piece.grad.elements)), piece.grad.elements);
  };
  const step = async (grads: Float32Array[], over: StepValues = {}): Promise<void> => {
    tensors.forEach((x, i) => fill(x, grads[i]!, 'grad'));
    await program.submit({ ...O, oneMinusBeta1: 1 - O.beta1, oneMinusBeta2: 1 - O.beta2, stepKey: 0, ...over });
  };
  const result = async (tensor: TrainedTensor): Promise<Float32Array> => Float32Array.from((await Promise.all(tensor.pieces.map((x) => read(x.value)))).flatMap((x) => [...x]));
  return { gpu, tensors, step, fill, result, state };
}

const twinOf = (name: string, start: Float32Array, width: number): twin.Twin => {
  const adam = { lr: O.lr, beta1: O.beta1, beta2: O.beta2, epsilon: O.adamEpsilon };
  const decay = width > 0 ? O.weightDecay : 0;
  if (name === 'adafactor') return twin.adafactor(start, width, { lr: O.lr, weightDecay: decay });
  if (name.startsWith('sgd')) return twin.sgd(start, { lr: O.lr, weightDecay: decay, momentum: name === 'sgd' ? 0 : 0.9 });
  if (name === 'adamw_8bit' && start.length >= 4096) return twin.adamw8bit(start, { ...adam, weightDecay: decay }, maps);
  return adamwTwin(start, { ...adam, weightDecay: decay, maxNorm: Infinity });
};

t.test('the maps of 8-bit moments are bitsandbytes’ to the bit', async (t) => {
  t.same([...maps.signed], golden.maps.signed);
  t.same([...maps.unsigned], golden.maps.unsigned);
});

for (const name of [...OPTIMISER_NAMES, 'sgd_momentum'] as const) {
  const momentum = name === 'sgd_momentum' ? 0.9 : 0;
  t.test(`${name}: fifteen steps as torch, bitsandbytes and transformers take them, and as the f64 twin; in pieces the same; a skipped step moves nothing`, async (t) => {
    const run = await setUp(name === 'sgd_momentum' ? 'sgd' : name, ['matrix', 'vector', 'pieces'], { momentum });
    const [matrix, vector, pieces] = run.tensors as [TrainedTensor, TrainedTensor, TrainedTensor];
    const starts = [values(6300, 0), values(40, 1), values(6300, 0)];
    run.tensors.forEach((x, i) => run.fill(x, starts[i]!, 'value'));
    const twins = [twinOf(name, starts[0]!, 90), twinOf(name, starts[1]!, 0)];
    for (let s = 1; s <= 15; s++) {
      const grads = [values(6300, 10 * s, true), values(40, 1 + 10 * s, true), values(6300, 10 * s, true)];
      if (s === 8) {
        const broken = grads.map((g) => g.slice());
        broken[1]![3] = Infinity;
        const kept = async (): Promise<number[]> => (await Promise.all(run.tensors.flatMap((x) => x.pieces.flatMap((p) => [p.value, ...Object.values(p.state)].map((y) => debugReadU32(y)))))).flatMap((x) => [...x]);
        const before = await kept();
        await run.step(broken);
        t.same(await kept(), before, 'skipped: values and state as they were');
        t.equal((await read(run.state))[3], 7, 't stands');
      }
      await run.step(grads);
      twins.forEach((x, i) => x.step(grads[i]!));
      if (s % 5 !== 0) continue;
      const [got, gotVector] = [await run.result(matrix), await run.result(vector)];
      const want = golden.cases[name]![s / 5 - 1]!;
      const tolerance = { atol: 3e-6, rtol: 2e-5, name: 'fifteen steps' };
      const some = got.filter((_, i) => i % 37 === 0);
      close(t, `vector, step ${s}, against the twin`, gotVector, twins[1]!.value, tolerance);
      if (name === 'adamw_8bit') {
        const plain = golden.cases['adamw_torch']![s / 5 - 1]!;
        compare8bit(t, `matrix, step ${s}`, some, want, plain, 0.9);
        compare8bit(t, `matrix, step ${s}, against the twin`, got.filter((_, i) => i % 37 === 0), twins[0]!.value.filter((_, i) => i % 37 === 0), plain, 0.98);
        continue;
      }
      close(t, `matrix, step ${s}`, some, want, tolerance);
      close(t, `matrix, step ${s}, against the twin`, got, twins[0]!.value, tolerance);
      close(t, `in pieces, step ${s}`, await run.result(pieces), got, tolerance);
    }
  });
}

const rms = (a: ArrayLike<number>, b: ArrayLike<number>): number => Math.sqrt(Array.from(a, (x, i) => (x - b[i]!) ** 2).reduce((x, y) => x + y) / a.length);

/** A moment whose share of its block's maximum lies at a midpoint gets the neighbouring code where f32 and f64 part, and goes on otherwise: few do. */
function compare8bit(t: Test, what: string, got: ArrayLike<number>, want: ArrayLike<number>, f32: ArrayLike<number>, most: number): void {
  const off = Array.from(got, (x, i) => Math.abs(x - want[i]!)).sort((a, b) => a - b);
  const equal = off.filter((x) => x < 3e-6).length / off.length;
  const share = rms(got, want) / rms(want, f32);
  t.ok(equal > most && share < 0.4, `${what}: ${(equal * 100).toFixed(1)} % equal; the rest together ${(share * 100).toFixed(1)} % of what 8-bit moments change`);
}

t.test('8-bit moments are kept where bitsandbytes and transformers keep them', async (t) => {
  const names = (shape: number[], embedding = false): string[] => optimisers.adamw_8bit.state({ shape, elements: shape.reduce((a, b) => a * b), index: 0, embedding }, { momentum: 0 }).map((s) => `${s.name} ${s.shape}`);
  t.same(names([64, 65]), ['m8 1040', 'm_max 17', 'v8 1040', 'v_max 17'], 'codes four to a word, a maximum for 256');
  t.same(names([63, 65]), ['m 63,65', 'v 63,65'], 'under 4,096 numbers');
  t.same(names([64, 65], true), ['m 64,65', 'v 64,65'], 'an embedding');
});

t.test('packed bf16 values: the twin’s bits, and the mean of many roundings is the exact value', async (t) => {
  const run = await setUp('sgd', ['matrix'], { packed: true });
  const [matrix] = run.tensors as [TrainedTensor];
  const bits = async (): Promise<Uint16Array> => new Uint16Array((await debugReadU32(matrix.pieces[0]!.value)).buffer);
  const start = new Uint16Array(6300).fill(0x3f80);
  const grads = values(6300, 3, true);
  let [ups, exact] = [0, 0];
  for (let s = 0; s < 8; s++) {
    matrix.pieces[0]!.value.write(new Uint32Array(start.buffer.slice(0)));
    await run.step([grads], { stepKey: 1000 + s, weightDecay: 0 });
    const got = await bits();
    const f = Math.fround;
    const want = Float64Array.from(grads, (g) => f(1 - f(f(O.lr) * g)));
    const off = got.filter((b, i) => b !== twin.stochasticBf16(want[i]!, 1000 + s, 0, i)).length;
    t.ok(off <= 6, `${off} of 6300 differ, by the last bit of the f32 value`);
    const moved = decode16(got, 'BF16');
    for (let i = 0; i < 6300; i++) [ups, exact] = [ups + moved[i]!, exact + want[i]!];
  }
  // One rounding's error is at most 2^-8; 50,400 of them leave a mean within 4 standard errors.
  const off = Math.abs(ups - exact) / 50400;
  t.ok(off < (4 * 2 ** -8 * 0.5) / Math.sqrt(50400), `mean error ${off}`);
});

t.test('rounding is elementwise alike for every optimiser with packed values', async (t) => {
  for (const name of OPTIMISER_NAMES) {
    const [plain, packed] = [await setUp(name, ['matrix']), await setUp(name, ['matrix'], { packed: true })];
    const ones = new Float32Array(6300).fill(1);
    plain.fill(plain.tensors[0]!, ones, 'value');
    packed.tensors[0]!.pieces[0]!.value.write(new Uint32Array(new Uint16Array(6300).fill(0x3f80).buffer));
    const grads = values(6300, 5, true);
    for (const run of [plain, packed]) await run.step([grads], { stepKey: 77 });
    const want = await read(plain.tensors[0]!.pieces[0]!.value);
    const got = decode16(new Uint16Array((await debugReadU32(packed.tensors[0]!.pieces[0]!.value)).buffer), 'BF16');
    t.ok(got.every((x, i) => Math.abs(x - want[i]!) <= 2 ** -7), `${name}: within one bf16 step of the f32 result`);
    const mean = (x: Float32Array): number => x.reduce((a, b) => a + b, 0) / x.length;
    t.ok(Math.abs(mean(got) - mean(want)) < 2e-4, `${name}: means ${mean(got)} and ${mean(want)}`);
  }
});
