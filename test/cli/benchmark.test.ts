import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { alpaca, dir, json, LENGTHS, put, serve, words } from '../helpers/benchmark.js';
import { edpo, edpoBeside } from '../helpers/cli.js';
import { realTest, sharedData } from '../helpers/shared.js';

t.test('AlpacaEval: both files to a one-token judge; annotations, leaderboard, and the same numbers from the annotations alone', async (t) => {
  const { server, env } = await serve(t);
  const args = ['eval-winrate', '--outputs', put('mine.json', alpaca(0, 'mine')), '--baseline', put('theirs.json', alpaca(1, 'theirs')), '--judge', 'openai:tester', '--output_dir', join(dir, 'alpaca')];
  const estimate = await edpoBeside([...args, '--estimate'], env);
  t.match(JSON.parse(estimate.out), { questions: 12, calls: 10, completion_tokens_at_most: 10 }, 'equal answers are a tie that nobody is asked about');
  t.equal(server.seen.length, 0);
  const r = await edpoBeside(args, env);
  t.equal(r.code, 0, r.err);
  t.equal(server.seen.length, 10);
  // The judge's log-probs of a and b are -1 / (1 + length), so p = 1 / (1 + e^(l_b - l_a)); both orders agree.
  const p = LENGTHS.map(([m, b]) => (m === b ? 0.5 : 1 / (1 + Math.exp(-1 / (1 + b) + 1 / (1 + m)))));
  const want = p.reduce((x, y) => x + y) / 6;
  const win = json('alpaca', 'winrate.json') as { alpaca_eval: { win_rate: number; standard_error: number; n_wins: number; n_draws: number; avg_length: number }; wins: number };
  t.ok(Math.abs(win.alpaca_eval.win_rate - want) < 1e-12, `${win.alpaca_eval.win_rate} ${want}`);
  const se = Math.sqrt(p.reduce((s, x) => s + (x - want) ** 2, 0) / 5 / 6);
  t.ok(Math.abs(win.alpaca_eval.standard_error - se) < 1e-12);
  t.match(win, { alpaca_eval: { n_wins: 4, n_draws: 1, avg_length: 37 / 6 }, wins: 4, ties: 1, losses: 1, protocol: 'alpaca-eval' });
  const annotations = json('alpaca', 'annotations.json') as Array<Record<string, unknown>>;
  t.match(annotations[0], { instruction: 'do a', generator_1: 'theirs', generator_2: 'mine', output_1: words(2), output_2: words(9), annotator: 'openai:tester', tie: false });
  t.match(readFileSync(join(dir, 'alpaca', 'leaderboard.csv'), 'utf8'), /^,win_rate,.*\nmine,/);
  const again = edpo(['eval-winrate', '--judgments', join(dir, 'alpaca', 'annotations.json')]);
  t.equal(again.code, 0, again.err);
  t.same((JSON.parse(again.out) as { alpaca_eval: unknown }).alpaca_eval, win.alpaca_eval);
  t.match(again.err, /AlpacaEval: win rate /);
  t.equal((await edpoBeside(args, env)).code, 0);
  t.equal(server.seen.length, 10, 'nothing is asked twice');
  for (const f of readdirSync(join(dir, 'alpaca'))) t.notMatch(readFileSync(join(dir, 'alpaca', f), 'utf8'), /sk-secret/);
});

t.test('AlpacaEval: one game a row in the hashed order', async (t) => {
  const { server, env } = await serve(t);
  const r = await edpoBeside(['eval-winrate', '--outputs', join(dir, 'mine.json'), '--baseline', join(dir, 'theirs.json'), '--judge', 'openai:tester', '--judge_order', 'hashed', '--output_dir', join(dir, 'hashed')], env);
  t.equal(r.code, 0, r.err);
  t.equal(server.seen.length, 5);
  const both = (json('alpaca', 'winrate.json') as { alpaca_eval: { win_rate: number } }).alpaca_eval;
  const one = (json('hashed', 'winrate.json') as { alpaca_eval: { win_rate: number } }).alpaca_eval;
  t.ok(Math.abs(one.win_rate - both.win_rate) < 1e-12, 'a judge without a bias of place says the same');
  t.match(edpo(['eval-winrate', '--outputs', join(dir, 'mine.json'), '--baseline', join(dir, 'theirs.json'), '--judge', 'command:cat', '--judge_order', 'hashed', '--output_dir', join(dir, 'x')]).err, /judge_order hashed is AlpacaEval’s and needs judge: openai:MODEL/);
});

t.test('files that do not fit: one error each', async (t) => {
  const bad = (args: string[], want: RegExp): void => {
    const r = edpo(['eval-winrate', ...args]);
    t.equal(r.code, 2, r.err);
    t.match(r.err, want);
    t.equal(r.err.includes('    at '), false);
  };
  const pair = (outputs: unknown, baseline: unknown): string[] => ['--outputs', put('bad-a.json', outputs), '--baseline', put('bad-b.json', baseline), '--judge', 'command:cat', '--output_dir', join(dir, 'bad')];
  const rows = alpaca(0, 'm') as Array<Record<string, unknown>>;
  bad(pair(rows, rows.slice(1)), /1 of 6 outputs have no baseline: "do a"/);
  bad(pair([...rows, rows[2]], rows), /1 duplicate instructions: "do c"/);
  bad(pair(rows.map((r, i) => (i === 3 ? { ...r, output: ' ' } : r)), rows), /1 of 6 outputs are empty/);
  bad(['--outputs', join(dir, 'mine.json'), '--judge', 'command:cat', '--output_dir', join(dir, 'bad')], /without a data set there are no chosen answers/);
  bad(['--outputs', join(dir, 'mine.json'), '--baseline', join(dir, 'none.json'), '--judge', 'command:cat', '--output_dir', join(dir, 'bad')], /baseline .*none.json: no such file or folder/);
  bad(['--judge', 'command:cat', '--output_dir', join(dir, 'bad')], /model_name_or_path +is required[\s\S]*dataset_name +is required \(or data_files, dataset_mixture, questions\)/);
  bad(['--judgments', put('odd.jsonl', [{ a: 1 }])], /no known form of judgments; its first row has a/);
  bad(['--judgments', put('odd2.jsonl', [{ preference: 'good', instruction: 'i', output_1: 'a', output_2: 'b' }])], /preference must be a number/);
});

realTest('published AlpacaEval numbers through the command: win rate, length control from weights and from a fit', async (t) => {
  const expected = (JSON.parse(readFileSync(sharedData('alpaca_eval', 'expected.json'), 'utf8')) as Record<string, { computed_here: Record<string, number>; published_leaderboard: Record<string, string> }>)['gemma-7b-it']!;
  const { gunzipSync } = await import('node:zlib');
  const [head, ...body] = gunzipSync(readFileSync(sharedData('alpaca_eval', 'gemma-7b-it.csv.gz'))).toString().trim().split('\n').map((l) => l.split(','));
  const at = (row: string[], name: string): number => Number(row[head!.indexOf(name)]);
  const has = (row: string[], name: string): boolean => (row[head!.indexOf(name)] ?? '') !== '';
  const rows = body.map((r, i) => ({ instruction: `${i}`, generator_2: 'gemma-7b-it', preference: has(r, 'preference') ? at(r, 'preference') : null, output_1: words(at(r, 'len_baseline')), output_2: words(at(r, 'len_model')) }));
  const r = edpo(['eval-winrate', '--judgments', put('gemma.json', rows), '--lc_difficulties', sharedData('alpaca_eval', 'instruction_difficulty.csv'), '--lc_weights', sharedData('alpaca_eval', 'glm_weights.csv')]);
  t.equal(r.code, 0, r.err);
  const { alpaca_eval: a } = JSON.parse(r.out) as { alpaca_eval: { win_rate: number; length_controlled: Record<string, { length_controlled_win_rate: number }> } };
  t.ok(Math.abs(100 * a.win_rate - Number(expected.published_leaderboard['win_rate'])) < 1e-9);
  t.ok(Math.abs(100 * a.length_controlled['from_weights']!.length_controlled_win_rate - expected.computed_here['lc_from_published_weights']!) < 1e-8);
  t.ok(Math.abs(100 * a.length_controlled['plain']!.length_controlled_win_rate - expected.computed_here['lc_from_unregularised_mle']!) < 1e-6);
  t.match(edpo(['eval-winrate', '--judgments', put('part.json', rows.slice(5)), '--lc_difficulties', sharedData('alpaca_eval', 'instruction_difficulty.csv')]).err, /has 805 instructions, the annotations 800/);
});
