import { join } from 'node:path';
import t from 'tap';
import { arena, dir, json, LENGTHS, lines, mt, put, questions, serve, turns, words } from '../helpers/benchmark.js';
import { edpo, edpoBeside } from '../helpers/cli.js';

t.test('Arena-Hard v0.1: labels of both games, Bradley-Terry score, the same from its judgments', async (t) => {
  const { server, env } = await serve(t);
  const args = ['eval-winrate', '--outputs', put('arena-mine.jsonl', arena(0, 'mine')), '--baseline', put('arena-theirs.jsonl', arena(1, 'gpt-4-0314')), '--judge', 'openai:tester', '--output_dir', join(dir, 'arena')];
  t.match(edpo(args, { env }).err, /says what was asked \(question q0\)/);
  const r = await edpoBeside([...args, '--questions', questions], env);
  t.equal(r.code, 0, r.err);
  t.equal(server.seen.length, 11, 'two games of equal answers are one request');
  t.ok(server.seen.some((s) => s.text.includes('solve d')));
  // Weighted games for the model: >> where twice as long. Shares: q0 3+1(B>A), the judge says >> only for A.
  const weight = (a: number, b: number): [number, number] => (a > b ? [a > 2 * b ? 3 : 1, 1] : a < b ? [1, 0] : [1, 0.5]);
  let [wins, games] = [0, 0];
  for (const [m, b] of LENGTHS) {
    const [w1, s1] = weight(m, b);
    const [w2, s2] = weight(b, m);
    wins += w1 * s1 + w2 * (1 - s2);
    games += w1 + w2;
  }
  const { scores } = (json('arena', 'winrate.json') as { arena_hard: { scores: Array<{ model: string; score: number; games: number }> } }).arena_hard;
  t.match(scores, [{ model: 'mine', games }]);
  t.ok(Math.abs(scores[0]!.score - wins / games) < 1e-6, `${scores[0]!.score} ${wins / games}: with one pair of players the fit is the mean`);
  t.match(lines('arena', 'model_judgment.jsonl')[0], { question_id: 'q0', model: 'mine', games: [{ score: 'B>A' }, { score: 'A>>B' }] });
  const again = edpo(['eval-winrate', '--judgments', join(dir, 'arena', 'model_judgment.jsonl'), '--output_dir', join(dir, 'arena2')]);
  t.same((JSON.parse(again.out) as { arena_hard: { scores: unknown } }).arena_hard.scores, scores);
  t.same((json('arena2', 'winrate.json') as { arena_hard: { scores: unknown } }).arena_hard.scores, scores);
});

t.test('Arena-Hard v2: uid and messages, categories, style control from metadata', async (t) => {
  const { env } = await serve(t);
  const v2 = (side: 0 | 1, model: string): unknown[] => LENGTHS.map((l, i) => ({ uid: `q${i}`, ans_id: `${i}`, model, category: i < 3 ? 'hard' : 'creative', messages: [{ role: 'user', content: `solve ${'abcdef'[i]}` }, { role: 'assistant', content: { answer: words(l[side]) } }], metadata: { token_len: l[side], header_count: { h1: i % 2 }, list_count: { ordered: side, unordered: 0 }, bold_count: { '**': 1 } } }));
  const r = await edpoBeside(['eval-winrate', '--outputs', put('v2-mine.jsonl', v2(0, 'mine')), '--baseline', put('v2-theirs.jsonl', v2(1, 'theirs')), '--judge', 'openai:tester', '--output_dir', join(dir, 'v2')], env);
  t.equal(r.code, 0, r.err);
  const { arena_hard: a } = json('v2', 'winrate.json') as { arena_hard: { version: string; scores: Array<{ score: number }>; categories: object; style_controlled: { score: number } } };
  t.equal(a.version, 'v2');
  t.same(Object.keys(a.categories), ['hard', 'creative']);
  t.ok(a.style_controlled.score > 0 && a.style_controlled.score < 1);
  t.match(lines('v2', 'model_judgment.jsonl')[0], { uid: 'q0', judge: 'openai:tester' });
});

t.test('MT-Bench: both turns graded, by turn and category; pairwise with the turns before', async (t) => {
  const { server, env } = await serve(t);
  const args = ['eval-winrate', '--outputs', put('mt-mine.jsonl', mt('mine', [7, 3, 9, 5])), '--questions', turns, '--judge', 'openai:tester', '--output_dir', join(dir, 'mt')];
  const alone = await edpoBeside(args, env);
  t.equal(alone.code, 0, alone.err);
  const { mt_bench: scores } = json('mt', 'winrate.json') as { mt_bench: Array<Record<string, unknown>> };
  t.match(scores, [{ model: 'mine', average: { mean: 6, n: 4 }, turns: { 1: { mean: 8 }, 2: { mean: 4 } }, categories: { writing: { mean: 5 }, reasoning: { mean: 7 } }, invalid: 0 }]);
  t.ok(server.seen.some((s) => s.text.includes('ask b') && s.text.includes('more b') && s.text.includes('ref one') && s.text.includes('ref two')), 'the second turn is shown with the first and both references');
  t.same((JSON.parse(edpo(['eval-winrate', '--judgments', join(dir, 'mt', 'model_judgment_single.jsonl')]).out) as { mt_bench: unknown }).mt_bench, scores);

  const baseline = ['--baseline', put('mt-theirs.jsonl', mt('theirs', [7, 5, 4, 5]))];
  const compared = await edpoBeside([...args, ...baseline], env);
  t.equal(compared.code, 0, compared.err);
  t.match(json('mt', 'winrate.json'), { wins: 1, losses: 1, ties: 2, mt_bench: [{ model: 'mine' }, { model: 'theirs', average: { mean: 5.25 } }] });
  const before = server.seen.length;
  const pairs = await edpoBeside([...args.slice(0, -1), join(dir, 'mt-pair'), ...baseline, '--judge_protocol', 'mt-bench'], env);
  t.equal(pairs.code, 0, pairs.err);
  t.equal(server.seen.length - before, 7, 'one turn has equal answers');
  const found = json('mt-pair', 'winrate.json') as { mt_bench_pairs: unknown };
  t.match(found, { mt_bench_pairs: [{ model: 'mine', baseline: 'theirs', wins: 1, losses: 1, ties: 2 }] });
  t.same((JSON.parse(edpo(['eval-winrate', '--judgments', join(dir, 'mt-pair', 'model_judgment_pair.jsonl')]).out) as typeof found).mt_bench_pairs, found.mt_bench_pairs);
  t.match(edpo([...args.slice(0, -4), '--judge', 'command:cat', '--judge_protocol', 'mt-bench', '--output_dir', join(dir, 'mt-x'), ...baseline]).err, /answers of several turns need the turns before them/);
  t.match(edpo([...args.slice(0, -4), '--judge', 'command:cat', '--output_dir', join(dir, 'mt-x')]).err, /only judge: openai:MODEL grades answers alone/);
});
