import t from 'tap';
import { PAIR_COLUMNS } from '../../src/gpu/ops/document_loss.js';
import { splitRoomBytes } from '../../src/gpu/ops/split_sum.js';
import { debugRead } from '../../src/gpu/readback.js';
import type { Document } from '../../src/model/batch/pack.js';
import { rowKeys } from '../../src/model/batch/row_keys.js';
import type { Engine } from '../../src/model/engine.js';
import { parameterSpecs } from '../../src/model/families/spec.js';
import { maskSpecs, type MaskKind } from '../../src/model/learned_mask.js';
import { composeLoss } from '../../src/model/losses/modifiers/compose.js';
import { trainingMemory } from '../../src/model/memory_advice.js';
import { loadConfig } from '../../src/config/load.js';
import { close, reduce } from '../helpers/close.js';
import { loadParameters, makeEngine } from '../helpers/engine.js';
import { testGpu } from '../helpers/gpu.js';
import { normals, rng } from '../helpers/rng.js';
import { tinySpec, tinyWeights } from '../helpers/tiny_model.js';
import * as twin from '../reference/head.js';
import { learnedMask, learnedMaskBackward, normedStates, type MaskWeights } from '../reference/learned_mask.js';
import { dropout } from '../reference/small_ops.js';
import { responseLogits, type Weights } from '../reference/transformer.js';

const r = rng(5);
const tokens = (n: number): number[] => Array.from({ length: n }, () => r.int(37));
const documents: Document[] = [[4, 5, 3], [1, 2, 9], [7, 1, 1], [6, 9, 12]].map(([p, c, j], id) => ({ id, prompt: tokens(p!), branches: [tokens(c!), tokens(j!)] }));
const spec = tinySpec();
const [weights, refWeights] = [tinyWeights(spec, 2), tinyWeights(spec, 3)];
const PARAMS = { sparsepo_l1: 0.03, sparsepo_l1_kl: 0.05, sparsepo_dropout: 0.2 };
const STEP = 77;
const lossOf = (kind: MaskKind) => composeLoss({ loss_type: 'sparsepo', rpo_alpha: 0, f_divergence_type: 'reverse_kl', f_alpha_divergence_coef: 0.5, ...{ sparsepo_mask: kind } });
const states = documents.map((d) => d.branches.map((b) => normedStates(spec, refWeights, d.prompt as number[], b as number[])));
const KEYS = { gain: 'layer_norm.weight', shift: 'layer_norm.bias', weight: 'layers.weight', bias: 'layers.bias', mix: 'mix.weight' } as const;
const masksOf = (kind: MaskKind): string[] => (kind === 'common' ? ['mask'] : ['mask.reward', 'mask.kl']);

/** Mask tensors away from their start, so that every gain and bias counts and some scores are cut. */
function maskValues(kind: MaskKind): Weights {
  return Object.fromEntries(maskSpecs(spec, kind).map((p, i) => [p.name, normals(900 + i, p.shape.reduce((a, b) => a * b, 1), 0.3).map((v) => (p.name.endsWith('norm.weight') ? 1 + v : p.name.endsWith('mix.weight') ? Math.abs(v) + 0.4 : v))]));
}
const partOf = (values: Weights, name: string): MaskWeights => Object.fromEntries(Object.entries(KEYS).map(([k, tensor]) => [k, values[`${name}.${tensor}`]!])) as unknown as MaskWeights;

/** Dropout's factors of a response's rows. The first token's row is the prompt's last. */
function keptOf(d: Document, branch: number, part: number, p: number): (i: number) => Float64Array {
  const rows = rowKeys([d]);
  const begin = d.prompt.length + d.branches.slice(0, branch).reduce((n, b) => n + b.length, 0);
  const key = (i: number): number => rows[i === 0 ? d.prompt.length - 1 : begin + i - 1]!;
  return (i) => dropout(new Array<number>(spec.L + 1).fill(1), [key(i)], STEP, 0x4d00 + part, p);
}

const rowsOf = (w: Weights, d: Document): twin.TokenTwin[][] => d.branches.map((b) => {
  const [f, q] = [w, refWeights].map((x) => responseLogits(spec, x, d.prompt as number[], b as number[]));
  return Array.from(b, (y, i) => twin.token(f![i]!, q![i]!, y, 0.01));
});

const twinOf = (kind: MaskKind, p: number) => {
  const loss = lossOf(kind);
  const masks = (values: Weights, n: number): number[][][] => masksOf(kind).map((name, k) => documents[n]!.branches.map((_, b) => learnedMask(states[n]![b]!, partOf(values, name), keptOf(documents[n]!, b, kind === 'common' ? 0 : k + 1, p))));
  const scalars = (rows: twin.TokenTwin[][], m: number[][][]) => {
    const [u, k] = [m[0]!, m.at(-1)!];
    const sum = (b: number, pick: (x: twin.TokenTwin, i: number) => number): number => rows[b]!.reduce((n, x, i) => n + pick(x, i), 0);
    const side = (b: number) => ({ weight: sum(b, (_, i) => u[b]![i]!), klWeight: sum(b, (_, i) => k[b]![i]!), sharpness: 0, refEntropy: 0 });
    return {
      a: sum(0, (x, i) => u[0]![i]! * x.logp), b: sum(1, (x, i) => u[1]![i]! * x.logp), aRef: sum(0, (x, i) => u[0]![i]! * x.refLogp), bRef: sum(1, (x, i) => u[1]![i]! * x.refLogp),
      klChosen: sum(0, (x, i) => k[0]![i]! * x.klRefPolicy), klRejected: sum(1, (x, i) => k[1]![i]! * x.klRefPolicy),
      tokensChosen: rows[0]!.length, tokensRejected: rows[1]!.length, beta: 0.3, perToken: 0, terms: { chosen: side(0), rejected: side(1), logVocab: Math.log(spec.V) },
    };
  };
  const value = (w: Weights, values: Weights): number[] => documents.map((d, n) => loss.value(scalars(rowsOf(w, d), masks(values, n)), PARAMS));
  /** Gradients of the mean loss by the masks' tensors, in plain loops. */
  const gradients = (values: Weights): Record<string, Float64Array> => {
    const out = Object.fromEntries(Object.entries(values).map(([name, v]) => [name, new Float64Array(v.length)]));
    const share = kind === 'common' ? 0.5 : 1;
    documents.forEach((d, n) => {
      const rows = rowsOf(weights, d);
      const { c, k } = loss.gradients(scalars(rows, masks(values, n)), PARAMS);
      masksOf(kind).forEach((name, part) => d.branches.forEach((_, b) => {
        const ofReward = (x: twin.TokenTwin): number => c[b as 0 | 1] * (x.logp - x.refLogp) + share * PARAMS.sparsepo_l1;
        const ofKl = (x: twin.TokenTwin): number => k[b as 0 | 1] * x.klRefPolicy + share * PARAMS.sparsepo_l1_kl;
        const dm = rows[b]!.map((x) => (kind === 'common' ? ofReward(x) + ofKl(x) : part === 0 ? ofReward(x) : ofKl(x)) / documents.length);
        learnedMaskBackward(states[n]![b]!, partOf(values, name), keptOf(d, b, kind === 'common' ? 0 : part + 1, p), dm, partOf(out, name) as unknown as Record<keyof MaskWeights, Float64Array>);
      }));
    });
    return out;
  };
  return { loss, masks, value, gradients };
};

for (const kind of ['common', 'independent'] as const) {
  t.test(`${kind} mask: values, losses and every gradient against the f64 twin and its finite differences, dropout on; the same from any packing`, async (t) => {
    const gpu = await testGpu();
    const { loss, masks, value, gradients } = twinOf(kind, PARAMS.sparsepo_dropout);
    const reference = await loadParameters(gpu, spec, refWeights, false, 'reference');
    const values = maskValues(kind);
    const run = async (groups: Document[][], rows: number) => {
      const policy = await loadParameters(gpu, spec, weights, true);
      const engine: Engine = await makeEngine(gpu, policy, loss, { kind: 'live', parameters: reference }, { over: { beta: 0.3, params: PARAMS }, tile: 16, rows });
      const own = engine.learnedMask!.parameters;
      for (const p of own.list) p.pieces[0]!.value.write(Float32Array.from(values[p.name]!));
      engine.stepKey = STEP;
      const [losses, means, weightsOf]: [number[], number[], number[]] = [[], [], []];
      for (const group of groups) {
        const { table, batch } = await engine.microBatch(group, undefined, 1 / documents.length, true)();
        group.forEach((_, i) => {
          losses.push(table[i * PAIR_COLUMNS.length + PAIR_COLUMNS.indexOf('loss')]!);
          means.push(table[i * PAIR_COLUMNS.length + PAIR_COLUMNS.indexOf('column')]!);
        });
        weightsOf.push(...(await debugRead(engine.tokenWeights!)).subarray(0, 2 * batch.values.S));
      }
      const read = async (p: typeof own, list: string[]) => new Map(await Promise.all(list.map(async (n) => [n, (await p.read(n, 'grad')).slice()] as const)));
      const out = { losses, means, weightsOf, mask: await read(own, own.list.map((p) => p.name)), policy: await read(policy, parameterSpecs(spec).map((p) => p.name)) };
      policy.destroy();
      return out;
    };
    const whole = await run([documents], 256);
    const all = documents.map((_, n) => masks(values, n));
    const flat = all.flatMap((m) => m[0]!.flatMap((side, b) => side.flatMap((x, i) => [x, m.at(-1)![b]![i]!])));
    close(t, 'mask', whole.weightsOf, flat, { atol: 2e-5, rtol: 1e-5, name: 'model' });
    const shares = flat.filter((x) => x === 0).length / flat.length;
    t.ok(shares > 0.05 && shares < 0.9, `${shares} of the weights are 0`);
    close(t, 'losses', whole.losses, value(weights, values), { atol: 1e-5, rtol: 1e-5, name: 'model' });
    close(t, 'mask_mean', whole.means, documents.map((d, n) => all[n]![0]!.flat().reduce((a, b) => a + b, 0) / d.branches.reduce((a, b) => a + b.length, 0)), { atol: 2e-5, rtol: 1e-5, name: 'model' });
    const want = gradients(values);
    for (const [name, g] of whole.mask) close(t, `d ${name}`, g, want[name]!, { ...reduce(64), atol: 3e-5 });
    const apart = await run(documents.map((d) => [d]), 64);
    t.same(apart.losses, whole.losses, 'alone and packed: the same bits');
    t.same(apart.weightsOf, whole.weightsOf, 'and of the masks');
    for (const side of ['mask', 'policy'] as const) for (const [name, g] of whole[side]) close(t, `${name}: packed and apart`, apart[side].get(name)!, g, { atol: 3e-6, rtol: 1e-5, name: 'rounding' });
    for (const [of, grads, base] of [['mask', whole.mask, values], ['policy', whole.policy, weights]] as const) {
      const random = rng(of.length);
      const direction = Object.fromEntries([...grads].map(([n, g]) => [n, Float64Array.from(g, () => random.normal())]));
      let [analytic, square] = [0, 0];
      for (const [n, g] of grads) g.forEach((v, i) => { analytic += v * direction[n]![i]!; square += v * v; });
      const mean = (h: number): number => {
        const moved = Object.fromEntries(Object.entries(base).map(([n, v]) => [n, Float64Array.from(v, (x, i) => x + h * direction[n]![i]!)]));
        return value(of === 'policy' ? moved : weights, of === 'mask' ? moved : values).reduce((a, b) => a + b, 0) / documents.length;
      };
      // Small enough that no relu turns.
      const h = of === 'mask' ? 1e-6 : 1e-4;
      const numeric = (4 * ((mean(h / 2) - mean(-h / 2)) / h) - (mean(h) - mean(-h)) / (2 * h)) / 3;
      t.ok(Math.abs(analytic - numeric) < 2e-4 * Math.sqrt(square), `${of}: ${analytic} against ${numeric}, gradient norm ${Math.sqrt(square)}`);
    }
  });
}

t.test('evaluation drops nothing; the start is open; the optimiser moves the mask and a skipped step does not; the memory plan is what is allocated', async (t) => {
  const gpu = await testGpu();
  const wide = tinySpec({ hidden_size: 64, num_hidden_layers: 3 });
  for (const kind of ['common', 'independent'] as const) {
    const loss = lossOf(kind);
    const load = async () => ({ policy: await loadParameters(gpu, wide, tinyWeights(wide, 2), true), reference: await loadParameters(gpu, wide, tinyWeights(wide, 3), false, 'reference') });
    const { policy, reference } = await load();
    // Room for sums of ranges is the device's, whoever is the first to want it.
    const allocated = (): number => gpu.bytesNow - splitRoomBytes(gpu);
    const before = allocated();
    const engine = await makeEngine(gpu, policy, loss, { kind: 'live', parameters: reference }, { capacity: { rows: 1024, sequences: 256 }, over: { params: PARAMS }, seed: 4 });
    const got = allocated() - before;
    const base = await load();
    const bare = allocated();
    await makeEngine(gpu, base.policy, lossOf('mapo' as MaskKind), { kind: 'live', parameters: base.reference }, { capacity: { rows: 1024, sequences: 256 }, over: { params: PARAMS } });
    const { config } = loadConfig({ flags: { loss_type: 'sparsepo', sparsepo_mask: kind, ref_mode: 'live' }, command: 'config' });
    const planned = ['mapo', kind].map((of) => trainingMemory(wide, of === 'mapo' ? lossOf('mapo' as MaskKind) : loss, config, undefined, 1024).total);
    const [more, plan] = [got - (allocated() - bare), planned[1]! - planned[0]!];
    // Each tensor has its slots of the gradient norm; MaPO has a number per row; buffers are rounded up.
    const slots = engine.learnedMask!.parameters.pieces.length * 4 * 256;
    t.ok(Math.abs(more - plan) < 4 * 1024 + slots + 2048, `${kind}: planned ${plan} more than with a constant mask, allocated ${more}`);
    const own = engine.learnedMask!.parameters;
    await engine.microBatch(documents, undefined, 1, false)();
    const still = (await debugRead(engine.tokenWeights!)).slice(0, 80);
    t.ok(still.some((x) => x > 0) && still.every((x) => x >= 0), 'the start is open');
    engine.stepKey = 2;
    await engine.microBatch(documents, undefined, 1, false)();
    t.same((await debugRead(engine.tokenWeights!)).slice(0, 80), still, 'evaluation does not know the step');
    await engine.microBatch(documents, undefined, 1 / documents.length, true)();
    t.notSame((await debugRead(engine.tokenWeights!)).slice(0, 80), still, 'training drops');
    const names = own.list.map((p) => p.name);
    const all = () => Promise.all(names.map(async (n) => [...(await own.read(n))]));
    const start = await all();
    const o = { lr: 1e-2, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, maxGradNorm: 1, weightDecay: 0 };
    t.notOk((await engine.optimise(o)()).skipped);
    const moved = await all();
    names.forEach((n, i) => t.notSame(moved[i], start[i], `${n} moved`));
    for (const n of names) t.ok((await own.read(n, 'grad')).every((x) => x === 0), `${n}: the gradient starts anew`);
    await engine.microBatch(documents, undefined, Infinity, true)();
    t.ok((await engine.optimise(o)()).skipped);
    t.same(await all(), moved, 'a skipped step moves nothing');
  }
});
