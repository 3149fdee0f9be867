import t from 'tap';
import { winRateReport, type Games } from '../../src/model/judge/report.js';
import { bootstrap, bootstrapMean, characters, quantile, standardDeviation, standardError } from '../../src/model/judge/statistics.js';
import { wilson } from '../../src/model/judge/winrate.js';
import { near } from '../helpers/near.js';
import { rng } from '../helpers/rng.js';


t.test('characters, quantiles, deviations', async (t) => {
  t.same(['', 'abc', 'é', '😀x', '👩‍👩‍👧'].map(characters), [0, 3, 1, 2, 5]);
  t.same([0, 0.25, 0.5, 1].map((q) => quantile([4, 1, 3, 2], q)), [1, 1.75, 2.5, 4]);
  t.equal(quantile([7], 0.3), 7);
  t.same(quantile([], 0.5), NaN);
  near(t, standardDeviation([2, 4, 4, 4, 5, 5, 7, 9]), Math.sqrt(32 / 7), 1e-15, 'deviation');
  t.same([standardDeviation([1]), standardError([1])], [NaN, NaN]);
});

t.test('bootstrap: seeded, inside the data, and as wide as theory says', async (t) => {
  const r = rng(1);
  const values = Float64Array.from({ length: 800 }, () => (r.uniform() < 0.35 ? 1 : 0));
  const [a, b] = [bootstrapMean(values, { seed: 3 }), bootstrapMean(values, { seed: 3 })];
  t.same(a.values, b.values);
  t.notSame(a.values, bootstrapMean(values, { seed: 4 }).values);
  const se = standardError(values);
  near(t, a.high - a.low, 2 * 1.96 * se, 0.15 * 2 * 1.96 * se, 'interval');
  near(t, standardDeviation(a.values), se, 0.1 * se, 'spread of the rounds');
  const p = values.reduce((x, y) => x + y, 0) / values.length;
  const [low, high] = wilson(p, values.length);
  near(t, a.low, low, 0.01, 'near Wilson below');
  near(t, a.high, high, 0.01, 'near Wilson above');
  const one = bootstrapMean([0.25, 0.25, 0.25]);
  t.same([one.low, one.high], [0.25, 0.25]);
  const drawn = new Set<number>();
  bootstrap(5, (s) => { s.forEach((i) => drawn.add(i)); return 0; }, { rounds: 20 });
  t.same([...drawn].sort(), [0, 1, 2, 3, 4]);
  t.match(bootstrap(3, (s) => (s[0] === 0 ? NaN : 1), { rounds: 50 }), { low: 1, high: 1 });
  t.ok(bootstrap(3, (s) => (s[0] === 0 ? NaN : 1), { rounds: 50 }).undefined_rounds > 0);
  t.same(bootstrapMean([]).low, NaN);
  t.throws(() => bootstrapMean([1], { rounds: 0 }), { message: /at least 1, got 0/, exitCode: 2 });
});

t.test('the report of known games', async (t) => {
  const g = (first: number | undefined, second: number | undefined, output = 'aaaa', baseline = 'bb'): Games => ({ first, second, output, baseline });
  const games = [g(1, 1), g(0, 0, 'é😀', 'bbbbbb'), g(1, 0), g(0.5, 0.5, 'x', 'y'), g(0.9, 0.6), g(undefined, undefined), g(0.2, undefined, 'a', 'bbb')];
  const r = winRateReport(games, { seed: 2, rounds: 200, lcRounds: 20 });
  t.same([r.wins, r.ties, r.losses, r.invalid, r.n], [2, 2, 2, 1, 6]);
  near(t, r.win_rate, 0.5, 1e-15, 'discrete');
  near(t, r.continuous_win_rate, (1 + 0 + 0.5 + 0.5 + 0.75 + 0.2) / 6, 1e-15, 'continuous');
  near(t, r.continuous_standard_error, standardError([1, 0, 0.5, 0.5, 0.75, 0.2]), 1e-15, 'continuous standard error');
  near(t, r.standard_error, standardError([1, 0, 0.5, 0.5, 1, 0]), 1e-15, 'standard error');
  near(t, r.position_consistency!, 4 / 5, 1e-15, 'consistency');
  near(t, r.mean_length, (4 + 2 + 4 + 1 + 4 + 4 + 1) / 7, 1e-15, 'length in code points');
  near(t, r.mean_length_baseline, (2 + 6 + 2 + 1 + 2 + 2 + 3) / 7, 1e-15, 'length of the baseline');
  t.ok(r.bootstrap.low < 0.5 && 0.5 < r.bootstrap.high && r.bootstrap.seed === 2);
  t.ok(r.length_controlled.win_rate! > 0 && r.length_controlled.win_rate! < 1 && r.length_controlled.low <= r.length_controlled.high);
  t.same(winRateReport(games, { seed: 2, rounds: 200, lcRounds: 20 }), r, 'the same digits again');
  const same = winRateReport([g(1, 1, 'aa', 'bb'), g(0, 0, 'a', 'b'), g(1, 1, 'aaa', 'bbb')]);
  near(t, same.length_controlled.win_rate!, same.win_rate, 1e-9, 'equal lengths: length control changes nothing');
  t.match(winRateReport([g(1, 1), g(0, 0)]).length_controlled, { win_rate: null, note: /same number of characters/ });
  t.throws(() => winRateReport([g(1, 1), g(1.5, 1)]), { message: /prompt 1: expected a share of a win in \[0, 1\], got 1.5/, exitCode: 2 });
});
