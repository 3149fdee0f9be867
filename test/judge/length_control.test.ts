import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { logit, sigmoid } from '../../src/model/judge/glm.js';
import { bootstrapLcMinimal, lcMinimal, lcPlain, lengthFeature, lengthRows, type LengthData } from '../../src/model/judge/length_control.js';
import { readDifficulties, readGamed } from '../../src/model/judge/length_control_files.js';
import { chooseStrength, fitL1, foldOf, lcFull, STRENGTHS } from '../../src/model/judge/length_control_full.js';
import { readCsv } from '../../src/model/judge/numeric_csv.js';
import { mean } from '../../src/model/judge/statistics.js';
import { near } from '../helpers/near.js';
import { rng } from '../helpers/rng.js';

const folder = mkdtempSync(join(tmpdir(), 'edpo-judge-test-'));
t.teardown(() => rmSync(folder, { recursive: true }));
const file = (name: string, body: string): string => {
  writeFileSync(join(folder, name), body);
  return join(folder, name);
};

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
