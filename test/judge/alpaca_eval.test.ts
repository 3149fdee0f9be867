import { readFileSync } from 'node:fs';
import t from 'tap';
import { alpacaEvalScore, leaderboardCsv, logprobPreference, preferenceShare } from '../../src/model/judge/alpaca_eval.js';
import { extremeChange, lcFromWeights, lcPlain, type LengthData } from '../../src/model/judge/length_control.js';
import { readDifficulties, readWeights, weightsOf } from '../../src/model/judge/length_control_files.js';
import { readCsv } from '../../src/model/judge/numeric_csv.js';
import { mean } from '../../src/model/judge/statistics.js';
import { near } from '../helpers/near.js';
import { realTest, sharedData } from '../helpers/shared.js';

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
