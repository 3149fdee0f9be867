import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { alpacaEvalScore, leaderboardCsv, logprobPreference, preferenceShare } from '../../src/model/judge/alpaca_eval.js';
import { fitLogistic, logit, sigmoid, solveSpd } from '../../src/model/judge/glm.js';
import { bootstrapLcMinimal, extremeChange, lcFromWeights, lcMinimal, lcPlain, lengthFeature, lengthRows, type LengthData } from '../../src/model/judge/length_control.js';
import { readDifficulties, readGamed, readWeights, weightsOf } from '../../src/model/judge/length_control_files.js';
import { chooseStrength, fitL1, foldOf, lcFull, STRENGTHS } from '../../src/model/judge/length_control_full.js';
import { readCsv } from '../../src/model/judge/numeric_csv.js';
import { mean } from '../../src/model/judge/statistics.js';
import { near } from '../helpers/near.js';
import { rng } from '../helpers/rng.js';
import { realTest, sharedData } from '../helpers/shared.js';

const folder = mkdtempSync(join(tmpdir(), 'edpo-judge-test-'));
t.teardown(() => rmSync(folder, { recursive: true }));
const file = (name: string, body: string): string => {
  writeFileSync(join(folder, name), body);
  return join(folder, name);
};

const MODELS = ['gemma-7b-it', 'FuseChat-Llama-3.1-8B-Instruct', 'vicuna-7b-v1.5'];
interface Expected {
  rows: number;
  published_leaderboard: Record<string, string>;
  computed_here: { lc_from_published_weights: number; lc_from_unregularised_mle: number; lc_standard_error_from_published_weights: number; unregularised_mle_coefficients: Record<string, number> };
}
const expected = (): Record<string, Expected> => JSON.parse(readFileSync(sharedData('alpaca_eval', 'expected.json'), 'utf8')) as Record<string, Expected>;
const measured = async (model: string): Promise<{ preference: Float64Array; data: LengthData; table: Awaited<ReturnType<typeof readCsv>> }> => {
  const table = await readCsv(sharedData('alpaca_eval', `${model}.csv.gz`));
  const preference = table.numbers('preference');
  return { preference, table, data: { shares: Array.from(preference, preferenceShare), lengthBaseline: table.numbers('len_baseline'), lengthModel: table.numbers('len_model') } };
};

realTest('AlpacaEval: win rates and standard errors as published, to 1e-9 percent', async (t) => {
  for (const model of MODELS) {
    const { published_leaderboard: published, rows } = expected()[model]!;
    const { preference, data } = await measured(model);
    const score = alpacaEvalScore(preference);
    near(t, 100 * score.win_rate, Number(published['win_rate']), 1e-9, `${model} win rate`);
    near(t, 100 * score.standard_error, Number(published['standard_error']), 1e-9, `${model} standard error`);
    near(t, 100 * score.discrete_win_rate, Number(published['discrete_win_rate']), 1e-9, `${model} discrete win rate`);
    t.same([score.n_wins, score.n_wins_base, score.n_draws, score.n_total, score.n_invalid], [...['n_wins', 'n_wins_base', 'n_draws', 'n_total'].map((k) => Number(published[k])), 0]);
    t.equal(score.n_total, rows);
    t.ok(score.bootstrap.low < score.win_rate && score.win_rate < score.bootstrap.high);
    // The percentile interval of a mean of 805 is close to the normal one.
    near(t, score.bootstrap.high - score.bootstrap.low, 2 * 1.96 * score.standard_error, 0.4 * score.standard_error, `${model} bootstrap width`);
    const line = leaderboardCsv(model, score, mean(data.lengthModel)).split('\n')[1]!.split(',');
    t.equal(line[9], published['avg_length'], 'mean characters, cut');
  }
});

realTest('AlpacaEval: length-controlled win rates from stored weights as published, to 1e-8 percent', async (t) => {
  const difficulties = await readDifficulties(sharedData('alpaca_eval', 'instruction_difficulty.csv'));
  const path = sharedData('alpaca_eval', 'glm_weights.csv');
  const weights = await readWeights(path);
  for (const model of MODELS) {
    const { published_leaderboard: published, computed_here: ours } = expected()[model]!;
    const lc = lcFromWeights(weightsOf(weights, model, path), difficulties, weightsOf(weights, 'gpt4_1106_preview', path));
    near(t, 100 * lc.length_controlled_win_rate!, Number(published['length_controlled_winrate']), 1e-8, model);
    near(t, 100 * lc.length_controlled_win_rate!, ours.lc_from_published_weights, 1e-9, model);
    near(t, 100 * lc.lc_standard_error!, ours.lc_standard_error_from_published_weights, 1e-9, `${model} standard error`);
    if (published['lc_standard_error']) near(t, 100 * lc.lc_standard_error!, Number(published['lc_standard_error']), 1e-8, `${model} published standard error`);
  }
  const board = await readCsv(sharedData('alpaca_eval', 'leaderboard.csv'));
  const off = Array.from(board.numbers('length_controlled_winrate'), (published, i) => ({ published, own: weights.get(board.rows[i]![0]!) }))
    .flatMap(({ published, own }) => (own && !Number.isNaN(published) ? [Math.abs(published - 100 * lcFromWeights(own, difficulties).length_controlled_win_rate!)] : []));
  // The other four rows were published with other weights or difficulties than the ones in the tree.
  t.same([off.length, off.filter((e) => e < 0.01).length, off.filter((e) => e < 0.2).length], [199, 195, 199], 'the whole leaderboard');
  const { table } = await measured('vicuna-7b-v1.5');
  const lc = lcFromWeights(weightsOf(weights, 'vicuna-7b-v1.5', path), difficulties);
  const rows = table.numbers('published_glm_preference');
  t.ok(rows.every((p, i) => Math.abs(p - lc.predictions[i]!) < 1e-7), 'every published prediction of vicuna');
  near(t, lcFromWeights(weightsOf(weights, 'gemma-7b-it', path), difficulties, weightsOf(weights, 'gemma-7b-it', path)).length_controlled_win_rate!, 0.5, 0, 'a model against itself');
  t.throws(() => weightsOf(weights, 'gemma-7b', path), { message: /no weights for "gemma-7b"/, hint: /gemma-7b-it/, exitCode: 2 });
});

realTest('AlpacaEval: the plain refit with difficulties, to 1e-6 percent', async (t) => {
  const difficulties = await readDifficulties(sharedData('alpaca_eval', 'instruction_difficulty.csv'));
  for (const model of MODELS) {
    const { computed_here: ours } = expected()[model]!;
    const { data } = await measured(model);
    const lc = lcPlain(data, difficulties);
    near(t, 100 * lc.length_controlled_win_rate!, ours.lc_from_unregularised_mle, 1e-6, model);
    const [length, difficulty, own] = Object.values(ours.unregularised_mle_coefficients);
    near(t, lc.weights!.length, length!, 1e-6, 'length');
    near(t, lc.weights!.difficulty, difficulty!, 1e-6, 'difficulty');
    near(t, lc.weights!.model, own!, 1e-6, 'model');
    // The measured lengths matter: UTF-16 units give another number.
    const utf16 = (await measured(model)).table;
    const other = lcPlain({ ...data, lengthBaseline: utf16.numbers('len_baseline_utf16'), lengthModel: utf16.numbers('len_model_utf16') }, difficulties);
    t.not(other.length_controlled_win_rate, lc.length_controlled_win_rate);
  }
});

t.test('AlpacaEval: what a preference may be', async (t) => {
  t.same([1, 2, 1.25, 1.5, 0, null, undefined, NaN, 0.9999, 2.0001, -1].map(preferenceShare), [0, 1, 0.25, 0.5, 0.5, ...Array<undefined>(6).fill(undefined)]);
  const s = alpacaEvalScore([1, 2, 1.5, 0, null, NaN, 1.75, 3]);
  t.same([s.n_wins, s.n_wins_base, s.n_draws, s.n_total, s.n_invalid], [2, 1, 2, 5, 3]);
  near(t, s.win_rate, (0 + 1 + 0.5 + 0.5 + 0.75) / 5, 1e-15, 'win rate');
  near(t, s.discrete_win_rate, 0.6, 1e-15, 'discrete');
  t.same(alpacaEvalScore([1.2, null, 1.9, 1.1]).bootstrap, alpacaEvalScore([1.2, null, 1.9, 1.1]).bootstrap, 'seeded');
  t.not(alpacaEvalScore([1.2, 1.4, 1.9, 1.1], { rounds: 9 }).bootstrap.high, alpacaEvalScore([1.2, 1.4, 1.9, 1.1], { seed: 1, rounds: 9 }).bootstrap.high);
  near(t, logprobPreference(Math.log(0.3), Math.log(0.1))!, 2 - 0.75, 1e-15, 'two labels');
  t.same([logprobPreference(undefined, -1), logprobPreference(-1, undefined), logprobPreference(undefined, undefined)], [2, 1, undefined]);
  t.same([extremeChange(0.2, 0.09), extremeChange(0.2, 0.11), extremeChange(0.2, 0.41), extremeChange(0.2, 0.39), extremeChange(0.5, 0.37), extremeChange(0.5, 0.38)], [true, false, true, false, true, false], 'the examples of upstream');
});

t.test('minimal length control against closed forms', async (t) => {
  // Two distinct features and two coefficients: the fit goes through both groups' means.
  const lengthBaseline = [100, 100, 100, 400, 400, 400, 400];
  const lengthModel = [300, 300, 300, 100, 100, 100, 100];
  const shares = [0.9, 0.7, 0.8, 0.2, undefined, 0.4, 0.3];
  const feature = lengthFeature({ shares, lengthBaseline, lengthModel })!;
  const [p1, p2, x1, x2] = [0.8, 0.3, feature[0]!, feature[3]!];
  const phi = (logit(p1) - logit(p2)) / (x1 - x2);
  const theta = logit(p1) - phi * x1;
  const lc = lcMinimal({ shares, lengthBaseline, lengthModel });
  near(t, lc.weights!.length, phi, 1e-9, 'length coefficient');
  near(t, lc.length_controlled_win_rate!, sigmoid(theta), 1e-10, 'LC');
  // Δ is -200 three times and +300 four times: s by hand, with the n - 1 deviation and no centring.
  const sd = Math.sqrt((3 * (-200 - 600 / 7) ** 2 + 4 * (300 - 600 / 7) ** 2) / 6);
  near(t, x1, Math.tanh(-200 / sd), 1e-15, 'feature');
  // Mirror images: θ = 0 whatever the length does.
  near(t, lcMinimal({ shares: [0.9, 0.1, 0.6, 0.4], lengthBaseline: [10, 70, 5, 25], lengthModel: [70, 10, 25, 5] }).length_controlled_win_rate!, 0.5, 1e-12, 'mirrored');
  near(t, lcMinimal({ shares: [0.9, 0.1, 0.8], lengthBaseline: [7, 8, 9], lengthModel: [7, 8, 9] }).length_controlled_win_rate!, 0.6, 1e-10, 'equal lengths: the win rate');
  near(t, lcMinimal({ shares: [1, 1, 1], lengthBaseline: [7, 8, 9], lengthModel: [1, 8, 9] }).length_controlled_win_rate!, 1, 1e-6, 'all wins: finite and near 1');
  t.match(lcMinimal({ shares: [1, 0], lengthBaseline: [7, 8], lengthModel: [6, 7] }), { length_controlled_win_rate: null, note: /same number of characters/ });
  t.match(lcMinimal({ shares: [undefined, undefined], lengthBaseline: [7, 8], lengthModel: [6, 9] }), { length_controlled_win_rate: null, note: /no valid verdict/ });
  t.throws(() => lcMinimal({ shares: [1], lengthBaseline: [7, 8], lengthModel: [6] }), { message: /expected 1 lengths on both sides, got 2 and 1/, exitCode: 2 });
  t.throws(() => lcPlain({ shares: [1], lengthBaseline: [7], lengthModel: [6] }, [1, 2]), { message: /expected 1 difficulties, got 2/, exitCode: 2 });
});

t.test('minimal length control finds a planted length effect; its bootstrap is seeded', async (t) => {
  const r = rng(3);
  const n = 2000;
  const lengthBaseline = Array.from({ length: n }, () => 100 + r.int(2000));
  const lengthModel = Array.from({ length: n }, () => 400 + r.int(2000));
  const feature = lengthFeature({ shares: Array<number>(n).fill(0), lengthBaseline, lengthModel })!;
  const shares = Array.from(feature, (x) => sigmoid(-1.5 * x - 0.25));
  const lc = lcMinimal({ shares, lengthBaseline, lengthModel });
  near(t, lc.weights!.length, -1.5, 1e-9, 'length coefficient');
  near(t, lc.length_controlled_win_rate!, sigmoid(-0.25), 1e-10, 'LC');
  t.ok(mean(shares) > lc.length_controlled_win_rate! + 0.02, 'the raw rate profits from length');
  const noisy = shares.map((p) => (r.uniform() < p ? 1 : 0)).slice(0, 300);
  const data = { shares: noisy, lengthBaseline: lengthBaseline.slice(0, 300), lengthModel: lengthModel.slice(0, 300) };
  const [a, b, c] = [{ seed: 5, rounds: 50 }, { seed: 5, rounds: 50 }, { seed: 6, rounds: 50 }].map((o) => bootstrapLcMinimal(data, o)) as [ReturnType<typeof bootstrapLcMinimal>, ReturnType<typeof bootstrapLcMinimal>, ReturnType<typeof bootstrapLcMinimal>];
  t.same(a.values, b.values);
  t.notSame(a.values, c.values);
  const own = lcMinimal(data).length_controlled_win_rate!;
  t.ok(a.low < own && own < a.high, `${a.low} < ${own} < ${a.high}`);
});

t.test('the regularised form against scikit-learn on made data', async (t) => {
  const golden = JSON.parse(readFileSync('test/goldens/length_control.json', 'utf8')) as {
    difficulty: number[]; len_baseline: number[]; len_model: number[]; preference: number[]; gamed_std_delta_len: number[]; gamed_preference: number[]; strengths: number[];
    results: Record<string, { coefficients: number[][]; best: number; length_controlled_win_rate: number }>;
  };
  STRENGTHS.forEach((c, i) => near(t, c / golden.strengths[i]!, 1, 1e-14, 'strength'));
  const data: LengthData = { shares: golden.preference, lengthBaseline: golden.len_baseline, lengthModel: golden.len_model };
  const gamed = { preference: golden.gamed_preference, stdDeltaLength: golden.gamed_std_delta_len, difficulty: [...golden.difficulty, ...golden.difficulty] };
  const own = lengthRows(data.shares, lengthFeature(data)!, golden.difficulty);
  const m = gamed.preference.length;
  const rows = {
    d: 3, x: Float64Array.from([...gamed.preference.flatMap((_, i) => [Math.tanh(gamed.stdDeltaLength[i]!), gamed.difficulty[i]!, 0]), ...own.x]),
    p: Float64Array.from([...gamed.preference, ...own.p]), w: Float64Array.from({ length: m + own.p.length }, (_, i) => (i < m ? 0.1 : 1)),
  };
  const exact = golden.results['1e-12']!;
  STRENGTHS.forEach((c, i) => fitL1(rows, c).forEach((b, j) => near(t, b, exact.coefficients[i]![j]!, 1e-7, `coefficient ${j} at C ${c}`)));
  t.equal(chooseStrength(rows), STRENGTHS[exact.best]);
  const lc = lcFull(data, golden.difficulty, gamed);
  near(t, lc.length_controlled_win_rate!, exact.length_controlled_win_rate, 1e-8, 'LC at the optimum');
  near(t, lc.length_controlled_win_rate!, golden.results['0.0001']!.length_controlled_win_rate, 1e-4, 'LC where upstream’s liblinear stops');
  t.equal(lc.strength, STRENGTHS[exact.best]);
  t.same([foldOf(9, 10, 5), foldOf(8, 10, 5), foldOf(0, 10, 5)], [0, 1, 4]);
  // The same from files.
  const csv = ['preference,std_delta_len,instruction_difficulty,index,not_gamed_baseline', ...gamed.preference.map((p, i) => `${p},${gamed.stdDeltaLength[i]},${gamed.difficulty[i]},${i % golden.difficulty.length},False`)].join('\n');
  const read = await readGamed(file('df_gamed.csv', csv));
  t.same(Array.from(read.difficulties), golden.difficulty);
  t.equal(lcFull(data, read.difficulties, read.gamed).length_controlled_win_rate, lc.length_controlled_win_rate);
  const without = lcFull({ ...data, shares: data.shares.map((p, i) => (i === 0 ? undefined : p)) }, golden.difficulty, gamed);
  t.equal(without.predictions.length, golden.difficulty.length, 'a row without a verdict is predicted');
  t.not(without.length_controlled_win_rate, lc.length_controlled_win_rate);
});

t.test('L1: the optimum fulfils its own conditions', async (t) => {
  const r = rng(11);
  const n = 200;
  const x = Float64Array.from({ length: n * 4 }, () => r.normal());
  const p = Float64Array.from({ length: n }, (_, i) => sigmoid(2 * x[i * 4]! - 0.1 * x[i * 4 + 1]! + 0.5 * r.normal()));
  for (const c of [0.02, 0.05, 1]) {
    const beta = fitL1({ d: 4, x, p }, c);
    for (let j = 0; j < 4; j++) {
      let g = 0;
      for (let i = 0; i < n; i++) g += c * (sigmoid(beta.reduce((z, b, k) => z + b * x[i * 4 + k]!, 0)) - p[i]!) * x[i * 4 + j]!;
      if (beta[j] === 0) t.ok(Math.abs(g) <= 1 + 1e-9, `coefficient ${j} at C ${c} is 0 with a gradient of ${g}`);
      else near(t, g, -Math.sign(beta[j]!), 1e-8, `gradient of coefficient ${j} at C ${c}`);
    }
  }
  t.ok(fitL1({ d: 4, x, p }, 0.02).some((b) => b === 0), 'a strong penalty sets coefficients to 0');
});

t.test('logistic regression: stationary, weights as repeats, singular columns and separation', async (t) => {
  const r = rng(2);
  const n = 50;
  const x = Float64Array.from({ length: n * 3 }, () => r.normal());
  const p = Float64Array.from({ length: n }, () => r.uniform());
  const w = Float64Array.from({ length: n }, () => r.int(3));
  const beta = fitLogistic({ d: 3, x, p, w });
  for (let j = 0; j < 3; j++) {
    let g = 0;
    for (let i = 0; i < n; i++) g += w[i]! * (sigmoid(beta.reduce((z, b, k) => z + b * x[i * 3 + k]!, 0)) - p[i]!) * x[i * 3 + j]!;
    near(t, g, 0, 1e-9, 'gradient');
  }
  const repeated = Array.from(w).flatMap((k, i) => Array<number>(k).fill(i));
  const again = fitLogistic({ d: 3, x: Float64Array.from(repeated.flatMap((i) => [...x.subarray(i * 3, i * 3 + 3)])), p: Float64Array.from(repeated, (i) => p[i]!) });
  again.forEach((b, j) => near(t, b, beta[j]!, 1e-10, 'weights are repeats'));
  const zero = fitLogistic({ d: 2, x: Float64Array.from([0, 1, 0, 1, 0, 1]), p: Float64Array.from([1, 0.5, 0]) });
  t.equal(zero[0], 0);
  near(t, fitLogistic({ d: 1, x: Float64Array.from([1, 1, 1]), p: Float64Array.from([0.2, 0.9, 0.7]) })[0]!, logit(0.6), 1e-10, 'an intercept alone is the logit of the mean');
  const won = fitLogistic({ d: 1, x: Float64Array.from([1, 1]), p: Float64Array.from([1, 1]) })[0]!;
  t.ok(won > 15 && won < 40, `separated data stay finite: ${won}`);
  near(t, solveSpd(Float64Array.from([4, 2, 2, 3]), Float64Array.from([10, 9]))![1]!, 2, 1e-15, 'Cholesky');
  t.equal(solveSpd(Float64Array.from([1, 2, 2, 1]), Float64Array.from([1, 1])), undefined, 'not positive definite');
});

t.test('tables: each fault with its line', async (t) => {
  const fault = (body: string, message: RegExp, read: (p: string) => Promise<unknown>): Promise<unknown> => t.rejects(read(file('bad.csv', body)), { message, exitCode: 2 });
  await fault('', /expected a table with a header line, got an empty file/, readCsv);
  await fault('index,instruction_difficulty\n0,1\n1\n', /line 3: expected 2 cells as in the header, got 1/, readDifficulties);
  await fault('index,instruction_difficulty\n0,x\n', /line 2: instruction_difficulty must be a number, got "x"/, readDifficulties);
  await fault('index,instruction_difficulty\n0,1\n2,1\n', /row 1 has index 2; expected 1/, readDifficulties);
  await fault('index,instruction_difficulty\n0,\n', /instruction 0 has no difficulty/, readDifficulties);
  await fault('index,d\n0,1\n', /column instruction_difficulty is missing; it has index, d/, readDifficulties);
  await fault('a,b\n"x",1\n', /line 2: expected a plain table, got a quoted cell/, readCsv);
  await fault('preference,std_delta_len,instruction_difficulty,index\n1.5,0,0,0\n', /row 0 has preference 1.5/, readGamed);
  await fault('preference,std_delta_len,instruction_difficulty,index,not_gamed_baseline\n0.5,0,0,0,True\n', /row 0 is no row of a gamed baseline/, readGamed);
  await fault('preference,std_delta_len,instruction_difficulty,index\n0.5,0,0,1\n0.5,0,0,2\n', /no difficulty for instruction 0/, readGamed);
});
