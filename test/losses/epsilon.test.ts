import { readFileSync } from 'node:fs';
import t from 'tap';
import { betaUpdate } from '../../src/gpu/ops/beta_update.js';
import { documentLoss, PAIR_COLUMNS } from '../../src/gpu/ops/document_loss.js';
import { Head } from '../../src/gpu/ops/head.js';
import { seqSum } from '../../src/gpu/ops/seq_sum.js';
import { losses } from '../../src/model/losses/index.js';
import { settings } from '../helpers/engine.js';
import { output, read, runOnce, testGpu, upload } from '../helpers/gpu.js';
import { token } from '../reference/head.js';

t.test('golden example of losses.md 1.10, through the f64 twin of the criterion', async (t) => {
  const chosen = [token([1, 0.5, -0.5, 0, 2], [0.8, 0.7, -0.4, 0.1, 1.5], 4, 0.01), token([0.2, -1, 1.5, 0.3, 0], [0.1, -0.8, 1.1, 0.5, 0.2], 2, 0.01)];
  const rejected = [token([0.3, 1.2, -0.2, 0.4, 0.1], [0.2, 1.5, -0.1, 0.3, 0], 1, 0.01), token([-0.6, 0.9, 0, 1.4, 0.2], [-0.5, 0.6, 0.2, 1.6, 0.1], 3, 0.01), token([0.5, 0.5, 0.1, -0.3, 0.7], [0.6, 0.2, 0, -0.2, 0.9], 0, 0.01)];
  const sum = (list: typeof chosen, key: keyof (typeof chosen)[0]): number => list.reduce((n, x) => n + x[key], 0);
  const near = (got: number, want: number): void => void t.ok(Math.abs(got - want) < 1e-11, `${got} against ${want}`);
  near(sum(chosen, 'logp'), -1.223167408345);
  near(sum(rejected, 'refLogp'), -2.756363708735);
  near(sum(chosen, 'deltaPlus') - sum(rejected, 'deltaPlus'), 0.009447703601);
  near(sum(chosen, 'deltaMinus') - sum(rejected, 'deltaMinus'), -0.009450429958);
  const d = { a: sum(chosen, 'logp'), b: sum(rejected, 'logp'), aRef: sum(chosen, 'refLogp'), bRef: sum(rejected, 'refLogp'), tokensChosen: 2, tokensRejected: 3, beta: 0.01 / 1.01, perToken: 0, klChosen: 0, klRejected: 0 };
  near(losses.epsilon_dpo.value(d, { label_smoothing: 0 }), 0.688388816646);
  near(losses.epsilon_dpo.gradients(d, { label_smoothing: 0 }).c[0], -0.004926882659);
});

t.test('ε-steps: both signs, ties and the dead zone; counts and β', async (t) => {
  const gpu = await testGpu();
  // (Δ+, Δ-) of a pair and its step by the strict rule, and with a dead zone of 0.3.
  const pairs: Array<[number, number, number, number]> = [[0.5, -0.5, 1, 1], [-0.5, 0.5, -1, -1], [0, 0, 0, 0], [0.2, -0.2, 1, 0], [-0.2, 0.1, -1, 0], [0.1, 0.1, 0, 0], [-0.1, -0.1, 0, 0], [0.5, 0, 0, 0], [0, 0.5, 0, 0]];
  const P = pairs.length;
  const stats = new Float32Array(P * 24);
  pairs.forEach(([up, down], i) => { stats[i * 24 + 2] = up + 1; stats[i * 24 + 14] = 1; stats[i * 24 + 3] = down + 2; stats[i * 24 + 15] = 2; });
  for (const criterion of ['exact', 'deadzone'] as const) {
    const over = settings({ criterion, deadzone: 0.3, epsilonSize: 0.02 });
    const [coef, table] = [output(gpu, 'coef', [P * 2, 2]), output(gpu, 'pairs', [P, 24])];
    const counts = upload(gpu, 'counts', [4], new Uint32Array(4));
    const beta = upload(gpu, 'beta', [4], Float32Array.of(0.05, 0, 0, 0));
    const state = output(gpu, 'state', [16]);
    const inputs = { seqStats: upload(gpu, 'stats', [P * 2, 12], stats), seqStart: upload(gpu, 'start', [P * 2 + 1], Uint32Array.from({ length: P * 2 + 1 }, (_, i) => i)), betaState: beta, coef, pairs: table, stepCounts: counts };
    await runOnce(gpu, (p) => documentLoss(p, inputs, { loss: losses.epsilon_dpo, settings: over, hidden: true }), { invCount: 1, perToken: 0, training: 1 });
    const got = await read(table);
    const steps = pairs.map((_, i) => got[i * 24 + PAIR_COLUMNS.indexOf('epsilon_step')]!);
    const want = pairs.map((p) => p[criterion === 'exact' ? 2 : 3]);
    t.same(steps, want, criterion);
    pairs.forEach((_, i) => t.ok(Math.abs(got[i * 24 + PAIR_COLUMNS.indexOf('beta')]! / (0.05 / (1 + 0.02 * want[i]!)) - 1) < 2e-7));
    const plus = want.filter((s) => s === 1).length;
    const minus = want.filter((s) => s === -1).length;
    // A skipped step leaves β and forgets the counts of that step.
    state.write(Float32Array.of(0, 0, 1));
    await runOnce(gpu, (p) => betaUpdate(p, { betaState: beta, stepCounts: counts, stepState: state }, { epsilonSize: 0.02, betaMin: 0, betaUpdate: 'harmonic' }));
    t.equal((await read(beta))[0], Math.fround(0.05), 'skipped: β stands');
    state.write(Float32Array.of(0, 0, 0));
    for (const rule of ['harmonic', 'arithmetic'] as const) {
      beta.write(Float32Array.of(0.05));
      await runOnce(gpu, (p) => {
        documentLoss(p, inputs, { loss: losses.epsilon_dpo, settings: over, hidden: true });
        betaUpdate(p, { betaState: beta, stepCounts: counts, stepState: state }, { epsilonSize: 0.02, betaMin: 0, betaUpdate: rule });
      }, { invCount: 1, perToken: 0, training: 1 });
      const next = rule === 'harmonic' ? 0.05 / (1 + (0.02 * (plus - minus)) / P) : (0.05 * (P - plus - minus + plus / 1.02 + minus / 0.98)) / P;
      t.ok(Math.abs((await read(beta))[0]! / next - 1) < 3e-7, `${rule}: ${(await read(beta))[0]} against ${next}`);
    }
    beta.write(Float32Array.of(0.05));
    await runOnce(gpu, (p) => {
      documentLoss(p, inputs, { loss: losses.epsilon_dpo, settings: over, hidden: true });
      betaUpdate(p, { betaState: beta, stepCounts: counts, stepState: state }, { epsilonSize: 0.02, betaMin: 0.06, betaUpdate: 'harmonic' });
    }, { invCount: 1, perToken: 0, training: 1 });
    t.equal((await read(beta))[0], Math.fround(0.06), 'β never falls below beta_min');
  }
});

t.test('bf16-trl: the official tensor path, against PyTorch on the CPU', async (t) => {
  const gpu = await testGpu();
  const golden = JSON.parse(readFileSync('test/goldens/bf16_trl.json', 'utf8')) as { D: number; V: number; epsilon: number; unit: number; w: number[]; wr: number[]; pairs: Array<{ sides: Array<{ h: number[]; hr: number[]; y: number[] }>; step: number }> };
  const { D, V, unit } = golden;
  const scaled = (list: number[]): Float32Array => Float32Array.from(list, (x) => x / unit);
  const sides = golden.pairs.flatMap((p) => p.sides);
  const S = sides.reduce((n, s) => n + s.y.length, 0);
  const starts = [0];
  for (const s of sides) starts.push(starts.at(-1)! + s.y.length);
  const head = new Head({ gpu, S, D, V, mode: 'hidden', pieces: [upload(gpu, 'w', [V, D], scaled(golden.w))], refPieces: [upload(gpu, 'wr', [V, D], scaled(golden.wr))], rounded: false, bf16: true, epsilon: golden.epsilon, tile: 20 });
  const P = golden.pairs.length;
  const seqStats = output(gpu, 'seq', [P * 2, 12]);
  const [coef, table] = [output(gpu, 'coef', [P * 2, 2]), output(gpu, 'pairs', [P, 24])];
  const seqStart = upload(gpu, 'start', [P * 2 + 1], Uint32Array.from(starts));
  await runOnce(gpu, (p) => {
    head.forward(p, { hidden: upload(gpu, 'h', [S, D], scaled(sides.flatMap((s) => s.h))), labels: upload(gpu, 'y', [S], Uint32Array.from(sides.flatMap((s) => s.y))), refLogps: output(gpu, 'r', [S]), refHidden: upload(gpu, 'hr', [S, D], scaled(sides.flatMap((s) => s.hr))) });
    seqSum(p, { stats: head.stats, seqStart, seqStats });
    documentLoss(p, { seqStats, seqStart, betaState: upload(gpu, 'beta', [4], Float32Array.of(0.1, 0, 0, 0)), coef, pairs: table, stepCounts: upload(gpu, 'c', [4], new Uint32Array(4)) }, { loss: losses.epsilon_dpo, settings: settings({ criterion: 'bf16-trl' }), hidden: true });
  }, { invCount: 1, perToken: 0, training: 0 });
  const got = await read(table);
  const steps = golden.pairs.map((_, i) => got[i * 24 + PAIR_COLUMNS.indexOf('epsilon_step')]!);
  t.same(steps, golden.pairs.map((p) => p.step));
  t.ok([1, 0, -1].every((s) => golden.pairs.filter((p) => p.step === s).length >= 3), 'the golden has every kind of step');
});
