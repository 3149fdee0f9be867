import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { InputError } from '../../src/errors.js';
import { ledgerLine } from '../../src/model/train/lines.js';
import { escape, figure } from '../../src/report/html.js';
import { Histogram } from '../../src/report/histogram.js';
import { summariseLedger } from '../../src/report/ledger.js';
import { thin } from '../../src/report/plots.js';
import { rng } from '../helpers/rng.js';
import { pairRecord } from '../helpers/run_folder.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-ledger-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));

t.test('a histogram of any range holds every value in the bin it belongs to', async (t) => {
  const r = rng(3);
  for (const [scale, shift] of [[1, 0], [1000, -400], [0.001, 5], [3, -2.5]] as const) {
    const h = new Histogram(['a', 'b'], 16);
    const values = Array.from({ length: 500 }, (_, i) => ({ group: i % 3 === 0 ? 'b' : 'a', value: (r.uniform() - 0.5) * scale + shift }));
    for (const v of values) h.add(v.group, v.value);
    const { width, begins, counts } = h.read();
    t.ok(begins.length >= 4 && begins.length <= 16, `${begins.length} bins`);
    for (const group of ['a', 'b']) {
      const mine = values.filter((v) => v.group === group).map((v) => v.value);
      t.same(counts[group], begins.map((b) => mine.filter((v) => v >= b && v < b + width).length), `${group}, scale ${scale}`);
      t.equal(h.count(group), mine.length);
      t.ok(Math.abs(h.mean(group)! - mine.reduce((a, b) => a + b, 0) / mine.length) <= 1e-12 * (1 + Math.abs(shift) + scale));
    }
  }
});

t.test('what the report says of a ledger is what the ledger holds', async (t) => {
  const r = rng(7);
  // Two passes over 300 pairs; the second alone counts for margins and named pairs.
  const records = [0, 1].flatMap((pass) => Array.from({ length: 300 }, (_, i) => pairRecord({ id: (i * 7) % 300, step: pass * 30 + 1 + Math.floor(i / 10), reward_chosen: 6 * r.uniform() - 2, reward_rejected: 0.25, epsilon_step: r.int(3) - 1 })));
  const path = join(dir, 'pairs.ndjson');
  writeFileSync(path, records.map(ledgerLine).join(''));
  const s = await summariseLedger(path, { fromStep: 31, listed: 5, name: 'run' });
  const second = records.filter((x) => x.step >= 31);
  const margin = (x: (typeof records)[number]): number => Math.fround(x.reward_chosen!) - Math.fround(x.reward_rejected!);
  t.equal(s.pairs, 600);
  t.equal(s.windowPairs, 300);
  t.same([...s.steps.keys()].length, 60);
  for (const step of [1, 30, 45]) {
    const mine = records.filter((x) => x.step === step);
    const n = (sign: number): number => mine.filter((x) => x.epsilon_step === sign).length;
    t.same(s.steps.get(step), { pairs: 10, lowered: n(1), raised: n(-1), unmoved: n(0) });
  }
  const ids = (title: string): number[] => s.lists.find((l) => l.title === title)!.pairs.map((p) => p.id);
  const sorted = (list: typeof records, by: (x: (typeof records)[number]) => number): number[] => [...list].sort((a, b) => by(b) - by(a)).slice(0, 5).map((x) => x.id);
  t.same(ids('Most confident'), sorted(second, margin));
  t.same(ids('Likely flipped labels'), sorted(second, (x) => -margin(x)));
  t.same(ids('Least confident'), sorted(second, (x) => -Math.abs(margin(x))));
  t.same(ids('Large margin, β raised'), sorted(second.filter((x) => x.epsilon_step === -1), margin));
  t.same(ids('Small margin, β lowered'), sorted(second.filter((x) => x.epsilon_step === 1), (x) => -margin(x)));
  for (const [name, sign] of [['lowered', 1], ['raised', -1], ['unmoved', 0]] as const) t.equal(s.margins.count(name), second.filter((x) => x.epsilon_step === sign).length, name);
});

t.test('pairs at exactly 0, seen before the policy moved, are not the least confident ones', async (t) => {
  const path = join(dir, 'ties.ndjson');
  writeFileSync(path, [0, 0, 0.02, -0.01, 0.5].map((reward, id) => ledgerLine(pairRecord({ id, reward_chosen: reward, reward_rejected: 0 }))).join(''));
  const { lists, margins } = await summariseLedger(path, { fromStep: 0, listed: 3, name: 'run' });
  t.same(lists.find((l) => l.title === 'Least confident')!.pairs.map((p) => p.id), [3, 2, 4]);
  t.equal(margins.count('lowered'), 5, 'the histogram has all of them');
});

t.test('half a line at the end is left out with a note; a broken line anywhere else is named', async (t) => {
  const whole = join(dir, 'whole.ndjson');
  writeFileSync(whole, [1, 2, 3].map((id) => ledgerLine(pairRecord({ id }))).join(''));
  const torn = join(dir, 'torn.ndjson');
  writeFileSync(torn, readFileSync(whole));
  appendFileSync(torn, '{"id":4,"step":1,"policy');
  const s = await summariseLedger(torn, { fromStep: 0, listed: 3, name: 'r' });
  t.equal(s.pairs, 3);
  t.match(s.notes, [/^r: pairs\.ndjson ends in half a line \(line 4\)/]);
  for (const [bad, why] of [['{"id":4,"st\n', /line 4 is broken: no JSON/], ['17\n', /line 4 is broken: expected an object/], ['{"id":"x","step":1}\n', /line 4 is broken: expected an object/], ['{"id":4,"st\n{"id":5,"step":1}', /line 4 is broken/]] as const) {
    const path = join(dir, 'broken.ndjson');
    writeFileSync(path, readFileSync(whole, 'utf8') + bad);
    await t.rejects(summariseLedger(path, { fromStep: 0, listed: 3, name: 'r' }), { constructor: InputError, message: why });
  }
});

t.test('an empty ledger, and one without margins', async (t) => {
  const path = join(dir, 'sft.ndjson');
  writeFileSync(path, '');
  t.equal((await summariseLedger(path, { fromStep: 0, listed: 3, name: 'r' })).pairs, 0);
  writeFileSync(path, ledgerLine(pairRecord({ tokens_rejected: null, margin: null, logratio: null, reward_chosen: null, reward_rejected: null, epsilon_step: null })));
  const s = await summariseLedger(path, { fromStep: 0, listed: 3, name: 'r' });
  t.same(s.lists, []);
  t.equal(s.lengths.count('chosen'), 1);
});

t.test('thinned series keep their means; numbers and texts are written for people', async (t) => {
  const points = Array.from({ length: 1000 }, (_, i): [number, number] => [i + 1, Math.sin(i)]);
  const { series, thinned } = thin([{ label: 'x', color: 0, dash: 0, points }], 100);
  t.ok(thinned);
  t.equal(series[0]!.points.length, 100);
  t.ok(Math.abs(series[0]!.points.reduce((a, p) => a + p[1], 0) / 100 - points.reduce((a, p) => a + p[1], 0) / 1000) < 1e-2);
  t.equal(figure(1234567), '1\u202f234\u202f567');
  t.equal(figure(-0.00012345678), '−0.0001235');
  t.equal(figure(NaN), '–');
  t.equal(escape('<b onx="1">&\u0000'), '&lt;b onx=&quot;1&quot;&gt;&amp;\u2400');
});
