import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { AnswerStyle } from '../../src/model/judge/answers.js';
import { arenaBattles, arenaScores, parseArenaVerdict } from '../../src/model/judge/arena_hard.js';
import { styleControlled, styleDifference } from '../../src/model/judge/arena_style.js';
import { bradleyTerry, type Battle } from '../../src/model/judge/bradley_terry.js';
import { logit, sigmoid } from '../../src/model/judge/glm.js';
import { readAnnotations, readArenaJudgments, readMtBenchPairs, readMtBenchRatings } from '../../src/model/judge/judgments.js';
import { compareRatings, mtBenchPairwise, mtBenchScores, parsePairVerdict, parseRating } from '../../src/model/judge/mt_bench.js';
import { mtBenchCategory } from '../../src/model/judge/questions.js';
import { near } from '../helpers/near.js';
import { rng } from '../helpers/rng.js';

const folder = mkdtempSync(join(tmpdir(), 'edpo-arena-test-'));
t.teardown(() => rmSync(folder, { recursive: true }));
let files = 0;
const jsonl = (rows: unknown[]): string => {
  const path = join(folder, `${files++}.jsonl`);
  writeFileSync(path, rows.map((r) => `${typeof r === 'string' ? r : JSON.stringify(r)}\n`).join(''));
  return path;
};

t.test('Arena-Hard: verdicts', async (t) => {
  const cases: Array<[string, string | undefined, string | undefined]> = [
    ['My final verdict is tie: [[A=B]]', 'A=B', 'A=B'],
    ['[[A>>B]] … so again [[A>>B]]', 'A>>B', 'A>>B'],
    ['[[A>B]] at first, but then [[B>A]]', undefined, 'B>A'],
    ['[[a>b]]', undefined, 'A>B'],
    ['[B>>A]', undefined, 'B>>A'],
    ['[[A<<B]]', undefined, 'A<<B'],
    ['[[A>>>B]]', undefined, undefined],
    ['[[A]]', undefined, undefined],
    ['I cannot judge.', undefined, undefined],
    ['', undefined, undefined],
    ['[[constructor]]', undefined, undefined],
  ];
  for (const [reply, v01, v2] of cases) {
    t.equal(parseArenaVerdict(reply, 'v0.1'), v01, `v0.1 ${reply}`);
    t.equal(parseArenaVerdict(reply, 'v2'), v2, `v2 ${reply}`);
  }
});

const game = (score: string | null): object => ({ user_prompt: 'p', judgment: 'j', score });
const judgment = (id: number, first: string | null, second: string | null): object => ({ question_id: `q${id}`, model: 'm', judge: 'gpt', games: [game(first), game(second)] });

t.test('Arena-Hard v0.1: a file with a known score', async (t) => {
  // Weighted games of m: q0 loses 3, wins 1; q1 wins 1 and 3; q2 two ties; q3 one invalid, one loss.
  const rows = await readArenaJudgments(jsonl([judgment(0, 'A>>B', 'A>B'), judgment(1, 'B>A', 'A>>B'), judgment(2, 'A=B', 'A=B'), judgment(3, null, 'B>A'), judgment(4, null, 'nonsense')]));
  const { battles, invalid, dropped } = arenaBattles(rows, 'v0.1', 'base');
  t.equal(invalid, 3);
  t.same(dropped, ['q4']);
  t.same(battles.map((b) => [b.question, b.share, b.weight]), [['q0', 0, 3], ['q0', 1, 1], ['q1', 1, 1], ['q1', 1, 3], ['q2', 0.5, 1], ['q2', 0.5, 1], ['q3', 0, 1]]);
  const [score] = arenaScores(battles, 'v0.1', 'base', { seed: 1 });
  const share = (1 + 1 + 3 + 0.5 + 0.5) / 11;
  // With one model and one baseline the maximum likelihood is the share of weighted games.
  near(t, score!.score, share, 1e-10, 'score');
  near(t, score!.elo!, 1000 + (400 * logit(share)) / Math.LN10, 1e-7, 'Elo');
  t.equal(score!.games, 11);
  t.ok(score!.low < share && share < score!.high);
  t.same(arenaScores(battles, 'v0.1', 'base', { seed: 1 }), [score], 'seeded');
  t.not(arenaScores(battles, 'v0.1', 'base', { seed: 2 })[0]!.low, score!.low);
});

t.test('Arena-Hard v2: mean over weighted games, questions with a lost game dropped', async (t) => {
  const v2 = (id: number, first: unknown, second: unknown): object => ({ uid: `u${id}`, category: 'hard_prompt', judge: 'gpt-4.1', model: 'm', baseline: 'o3', games: [first, second] });
  const rows = await readArenaJudgments(jsonl([v2(0, { score: 'B>>A' }, { score: 'A<B' }), v2(1, { score: 'A=B' }, { score: 'B=A' }), v2(2, null, { score: 'A>>B' }), v2(3, { score: null }, null)]));
  const { battles, invalid, dropped } = arenaBattles(rows, 'v2', 'ignored: the rows name theirs');
  t.equal(invalid, 3);
  t.same(dropped, ['u2', 'u3']);
  const [score] = arenaScores(battles, 'v2', 'o3');
  near(t, score!.score, (3 + 0 + 0.5 + 0.5) / 6, 1e-15, 'score');
  t.equal(score!.games, 6);
  t.equal(score!.elo, undefined);
  // Many questions: the 5 to 95 percent interval of a mean of independent games is near the normal one.
  const r = rng(4);
  const many = Array.from({ length: 1000 }, (_, i) => ({ question: `q${i}`, a: 'm', b: 'o3', share: r.uniform() < 0.3 ? 1 : 0, weight: 1 }));
  const [wide] = arenaScores(many, 'v2', 'o3', { rounds: 400 });
  const width = 2 * 1.645 * Math.sqrt((wide!.score * (1 - wide!.score)) / 1000);
  near(t, wide!.high - wide!.low, width, 0.15 * width, 'interval');
  const [doubled] = arenaScores(many.flatMap((b) => [b, b]), 'v2', 'o3', { rounds: 400, resample: 'questions' });
  near(t, doubled!.high - doubled!.low, width, 0.15 * width, 'drawn by question, doubled games tell no more');
  const [single] = arenaScores(many.flatMap((b) => [b, b]), 'v2', 'o3', { rounds: 400 });
  t.ok(single!.high - single!.low < 0.85 * width, 'drawn by game, they seem to');
});

t.test('Bradley-Terry: ratings behind exact shares are found, beyond the star around the baseline', async (t) => {
  const truth = new Map([['base', 0], ['x', 0.7], ['y', -1.2], ['z', 2]]);
  const names = [...truth.keys()];
  const battles: Battle[] = [];
  names.forEach((a, i) => names.slice(i + 1).forEach((b, k) => a === 'base' && b === 'z' ? undefined : battles.push({ a: k % 2 ? a : b, b: k % 2 ? b : a, share: sigmoid((k % 2 ? 1 : -1) * (truth.get(a)! - truth.get(b)!)), weight: 1 + i + k })));
  const ratings = bradleyTerry(battles, 'base');
  for (const [name, rating] of truth) near(t, ratings.get(name)!, rating, 1e-8, name);
  const ring = bradleyTerry([{ a: 'p', b: 'q', share: 1, weight: 1 }, { a: 'q', b: 'r', share: 1, weight: 1 }, { a: 'r', b: 'p', share: 1, weight: 1 }], 'p');
  for (const name of ['p', 'q', 'r']) near(t, ring.get(name)!, 0, 1e-10, `a ring of wins: ${name}`);
  const best = bradleyTerry([{ a: 'p', b: 'q', share: 1, weight: 40 }], 'q').get('p')!;
  t.ok(best > 15 && Number.isFinite(best), `undefeated, finite: ${best}`);
  t.throws(() => bradleyTerry([...battles, { a: 'u', b: 'v', share: 1, weight: 1 }], 'base'), { message: /no chain of games links u, v with base/, exitCode: 2 });
  t.same([...bradleyTerry([...battles, { a: 'u', b: 'v', share: 1, weight: 1 }], 'base', 'omit').keys()].sort(), ['base', 'x', 'y', 'z']);
  const three = [{ question: '1', a: 'x', b: 'base', share: 0.75, weight: 4 }, { question: '2', a: 'y', b: 'base', share: 0.25, weight: 4 }];
  arenaScores(three, 'v0.1', 'base', { rounds: 20 }).forEach((s, i) => near(t, s.score, [0.75, 0.25][i]!, 1e-9, s.model));
});

t.test('Arena-Hard style control: a planted effect of length is taken out', async (t) => {
  const r = rng(9);
  const style = (): AnswerStyle => ({ tokens: 100 + r.int(900), headers: r.int(5), lists: r.int(20), bold: r.int(10) });
  const ids = Array.from({ length: 300 }, (_, i) => `q${i}`);
  const model = new Map(ids.map((id) => [id, style()]));
  const baseline = new Map(ids.map((id) => [id, style()]));
  const raw = ids.map((id) => styleDifference(model.get(id)!, baseline.get(id)!));
  const m = raw.reduce((a, x) => a + x[0]!, 0) / raw.length;
  const sd = Math.sqrt(raw.reduce((a, x) => a + (x[0]! - m) ** 2, 0) / (raw.length - 1));
  const battles = ids.map((question, i) => ({ question, a: 'm', b: 'o3', share: sigmoid(-0.4 + 1.3 * ((raw[i]![0]! - m) / sd)), weight: 1 }));
  const got = styleControlled(battles, model, baseline, { rounds: 30 });
  near(t, got.score, sigmoid(-0.4), 1e-8, 'score at equal style');
  near(t, got.coefficients.tokens, 1.3, 1e-7, 'tokens');
  near(t, got.coefficients.headers, 0, 1e-7, 'headers');
  t.ok(got.low <= got.high);
  t.same(styleDifference({ tokens: 300, headers: 3, lists: 6, bold: 0 }, { tokens: 100, headers: 0, lists: 2, bold: 0 }), [0.5, 0.01 / 1.01, 0, 0]);
  t.throws(() => styleControlled(battles, new Map(), baseline), { message: /question q0 has no style metadata/, exitCode: 2 });
});

t.test('MT-Bench: replies', async (t) => {
  t.same(['Rating: [[7]]', '[[8.5]] then [[2]]', '[6]', 'see [3] … [[9]]', '[[0]]', '[[11]]', 'seven', '[[]]', '[[10]]'].map(parseRating), [7, 8.5, 6, 9, undefined, undefined, undefined, undefined, 10]);
  t.same(['[[A]]', 'so [[B]]', '[[C]]', '[[A]] or [[B]]', '[[A]] and [[A]]', 'A', '[[D]]'].map(parsePairVerdict), ['a', 'b', 'tie', undefined, 'a', undefined, undefined]);
  t.same([compareRatings(7, 7.1), compareRatings(7.2, 7), compareRatings(1, 9), compareRatings(undefined, 3)], [0.5, 1, 0, undefined]);
  t.same([81, 90, 91, '105', 111, 121, 131, 141, 160, 80, 161].map(mtBenchCategory), ['writing', 'writing', 'roleplay', 'reasoning', 'math', 'coding', 'extraction', 'stem', 'humanities', undefined, undefined]);
});

t.test('MT-Bench: means per turn and category of a file with known answers', async (t) => {
  const row = (question_id: number, turn: number, score: number, model = 'm'): object => ({ question_id, model, judge: ['gpt-4', 'single-v1'], user_prompt: '', judgment: '', score, turn, tstamp: 0 });
  const ratings = await readMtBenchRatings(jsonl([row(81, 2, 6), row(81, 1, 8), row(82, 1, 10), row(111, 1, 3), row(111, 2, 1), row(112, 2, -1), row(81, 1, 1, 'other')]));
  const [m, other] = mtBenchScores(ratings);
  t.equal(m!.model, 'm');
  t.equal(m!.invalid, 1);
  near(t, m!.average.mean, 28 / 5, 1e-15, 'average');
  near(t, m!.average.standard_error, Math.sqrt([8, 6, 10, 3, 1].reduce((a, x) => a + (x - 5.6) ** 2, 0) / 4 / 5), 1e-14, 'standard error');
  t.same(Object.entries(m!.turns).map(([k, v]) => [k, v.mean, v.n]), [['1', 7, 3], ['2', 3.5, 2]]);
  t.same(Object.entries(m!.categories).map(([k, v]) => [k, v.mean, v.n]), [['writing', 8, 3], ['math', 2, 2]]);
  t.equal(other!.average.mean, 1);
});

t.test('MT-Bench: pairwise with swapped sides', async (t) => {
  const pair = (g1_winner: string, g2_winner: string, swap = false): object => ({ question_id: 81, model_1: swap ? 'b' : 'm', model_2: swap ? 'm' : 'b', g1_winner, g2_winner, turn: 1 });
  const pairs = await readMtBenchPairs(jsonl([pair('model_1', 'model_1'), pair('model_2', 'model_2', true), pair('model_1', 'model_2'), pair('tie', 'model_1'), pair('model_2', 'model_2'), pair('error', 'model_1'), { ...pair('model_1', 'model_1'), model_2: 'unrelated' }]));
  const w = mtBenchPairwise(pairs, 'm', 'b');
  t.same([w.wins, w.ties, w.losses, w.invalid, w.n], [2, 2, 1, 1, 5]);
  near(t, w.win_rate, 0.6, 1e-15, 'adjusted win rate');
  near(t, w.position_consistency!, 0.6, 1e-15, 'consistency: a tie beside a win is none');
});

t.test('judgment files: each fault with its line', async (t) => {
  const fault = (read: (p: string) => Promise<unknown>, rows: unknown[], message: RegExp): Promise<unknown> => t.rejects(read(jsonl(rows)), { message, exitCode: 2 });
  await fault(readArenaJudgments, [judgment(0, 'A>B', 'A>B'), '{"question_id": "q1", "ga'], /line 2 is no JSON/);
  await fault(readArenaJudgments, [{ question_id: 'q', model: 'm' }], /line 1: games must be a list, got nothing/);
  await fault(readArenaJudgments, [{ model: 'm', games: [] }], /line 1: question_id or uid is missing; it has model, games/);
  await fault(readArenaJudgments, [], /holds no judgments/);
  await fault(readMtBenchRatings, [{ question_id: 81, model: 'm', score: '9' }], /score must be a number, got "9"/);
  await fault(readMtBenchPairs, [{ question_id: 81, model_1: 'm', model_2: 'b' }], /g1_winner is missing/);
  await fault(readAnnotations, [{ instruction: 'i', output_1: '', output_2: '', preference: '2' }], /preference must be a number from 1 to 2 or null, got "2"/);
  const [a, b] = await readAnnotations(jsonl([{ instruction: 'i', output_1: 'x', output_2: 'y', generator_2: 'm', preference: 1.25 }, { instruction: 'k', output_1: 'x', output_2: 'y', preference: null }]));
  t.same([a!.preference, a!.generator_2, b!.preference], [1.25, 'm', null]);
});
