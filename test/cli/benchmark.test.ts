import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { edpo, edpoBeside, tinyFolder } from '../helpers/cli.js';
import { good, JudgeServer, type Behaviour } from '../helpers/judge_server.js';
import { realTest, sharedData } from '../helpers/shared.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-benchmark-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
const put = (name: string, body: unknown): string => {
  const path = join(dir, name);
  writeFileSync(path, Array.isArray(body) && name.endsWith('.jsonl') ? body.map((r) => `${JSON.stringify(r)}\n`).join('') : JSON.stringify(body));
  return path;
};
const json = <T = object>(...path: string[]): T => JSON.parse(readFileSync(join(dir, ...path), 'utf8')) as T;
const lines = (...path: string[]): object[] => readFileSync(join(dir, ...path), 'utf8').trim().split('\n').map((l) => JSON.parse(l) as object);
const serve = async (t: Test, behaviour: Behaviour = good): Promise<{ server: JudgeServer; env: Record<string, string> }> => {
  const server = await JudgeServer.start(behaviour);
  t.teardown(() => server.stop());
  return { server, env: { OPENAI_BASE_URL: server.url, OPENAI_API_KEY: 'sk-secret-of-this-test' } };
};
const words = (n: number): string => 'x'.repeat(n);

// Six questions; the model's answer is longer than the baseline's in the first four, equal in the fifth.
const LENGTHS: Array<[number, number]> = [[9, 2], [8, 5], [7, 4], [5, 4], [6, 6], [2, 9]];
const alpaca = (side: 0 | 1, generator: string): unknown => LENGTHS.map((l, i) => ({ instruction: `do ${'abcdef'[i]}`, output: words(l[side]), generator, dataset: 'koala' }));

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

const questions = put('question.jsonl', LENGTHS.map((_, i) => ({ question_id: `q${i}`, category: i < 3 ? 'hard_prompt' : 'creative_writing', turns: [{ content: `solve ${'abcdef'[i]}` }] })));
const arena = (side: 0 | 1, model: string): unknown[] => LENGTHS.map((l, i) => ({ question_id: `q${i}`, answer_id: `${i}`, model_id: model, choices: [{ index: 0, turns: [{ content: words(l[side]), token_len: l[side] }] }], tstamp: 0 }));

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

const turns = put('mt_question.jsonl', [81, 101].map((id) => ({ question_id: id, category: id < 91 ? 'writing' : 'reasoning', turns: id < 91 ? ['ask a', 'more a'] : ['ask b', 'more b'], ...(id > 100 ? { reference: ['ref one', 'ref two'] } : {}) })));
const mt = (model: string, lengths: number[]): unknown[] => [81, 101].map((question_id, i) => ({ question_id, answer_id: 'a', model_id: model, choices: [{ index: 0, turns: [words(lengths[2 * i]!), words(lengths[2 * i + 1]!)] }], tstamp: 0 }));

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

t.test('a model answers the instructions of a baseline’s file, or a benchmark’s questions', async (t) => {
  const { server, env } = await serve(t);
  const policy = await tinyFolder(join(dir, 'policy'));
  const sampling = ['--max_new_tokens', '6', '--judge', 'openai:tester', '--model_name_or_path', policy];
  const r = await edpoBeside(['eval-winrate', '--baseline', join(dir, 'theirs.json'), ...sampling, '--n_prompts', '4', '--output_dir', join(dir, 'sampled')], env);
  t.equal(r.code, 0, r.err);
  t.match(json('sampled', 'winrate.json'), { n: 4, alpaca_eval: { n_total: 4 } });
  const own = json('sampled', 'model_outputs.json') as Array<{ instruction: string; generator: string }>;
  t.match(own, [{ instruction: 'do a', generator: policy }, {}, {}, {}]);
  const q = await edpoBeside(['eval-winrate', '--questions', questions, '--baseline', join(dir, 'arena-theirs.jsonl'), ...sampling, '--output_dir', join(dir, 'sampled-arena')], env);
  t.equal(q.code, 0, q.err);
  t.match(lines('sampled-arena', 'model_answer.jsonl')[5], { question_id: 'q5', model_id: policy, choices: [{ turns: [{}] }] });
  // What was written is read again, and stands for the same answers: nothing new is asked.
  const asked = server.seen.length;
  const re = await edpoBeside(['eval-winrate', '--questions', questions, '--outputs', join(dir, 'sampled-arena', 'model_answer.jsonl'), '--baseline', join(dir, 'arena-theirs.jsonl'), '--judge', 'openai:tester', '--output_dir', join(dir, 'sampled-arena')], env);
  t.equal(re.code, 0, re.err);
  t.equal(server.seen.length, asked);
  const templated = await tinyFolder(join(dir, 'templated'));
  writeFileSync(join(templated, 'tokenizer_config.json'), JSON.stringify({ tokenizer_class: 'PreTrainedTokenizerFast', bos_token: '<s>', eos_token: '</s>', chat_template: '{{ bos_token }}{% for m in messages %}{{ m.role[0] }}: {{ m.content }} {% endfor %}{% if add_generation_prompt %}a:{% endif %}' }));
  const mt = await edpoBeside(['eval-winrate', '--questions', turns, '--max_new_tokens', '6', '--judge', 'openai:tester', '--model_name_or_path', templated, '--output_dir', join(dir, 'sampled-mt')], env);
  t.equal(mt.code, 0, mt.err);
  t.match(lines('sampled-mt', 'model_answer.jsonl'), [{ question_id: 81, choices: [{ turns: [/.*/, /.*/] }] }, { question_id: 101 }]);
  t.match(json('sampled-mt', 'winrate.json'), { mt_bench: [{ model: templated }] });
  // Writing (81) at 0.7, reasoning (101) greedily: at that seed as one temperature for all gives them.
  const at = async (name: string, ...flags: string[]): Promise<Array<{ choices: Array<{ turns: string[] }> }>> => {
    const run = await edpoBeside(['eval-winrate', '--questions', turns, '--max_new_tokens', '6', '--judge', 'openai:tester', '--model_name_or_path', templated, ...flags, '--output_dir', join(dir, name)], env);
    t.equal(run.code, 0, run.err);
    return lines(name, 'model_answer.jsonl') as never;
  };
  const [byCategory, warm, greedy] = [await at('mt-category', '--category_temperatures'), await at('mt-warm', '--temperature', '0.7'), await at('mt-greedy', '--temperature', '0')];
  t.same(byCategory[0]!.choices, warm[0]!.choices);
  t.same(byCategory[1]!.choices, greedy[1]!.choices);
  t.not(JSON.stringify(byCategory[0]!.choices), JSON.stringify(greedy[0]!.choices));
  const wrong = edpo(['eval-winrate', '--questions', questions, '--baseline', join(dir, 'arena-theirs.jsonl'), ...sampling, '--category_temperatures', '--output_dir', join(dir, 'x')], { env });
  t.equal(wrong.code, 2);
  t.match(wrong.err, /category_temperatures are MT-Bench’s/);
});

t.test('a benchmark’s answers are judged while others are sampled; killed, nothing is sampled or judged twice', async (t) => {
  const out = join(dir, 'overlap');
  const answered = (): number => ['answers', 'answers-turn2'].reduce((n, f) => n + (existsSync(join(out, `${f}.ndjson`)) ? readFileSync(join(out, `${f}.ndjson`), 'utf8').split('\n').length - 2 : 0), 0);
  const sampling = ['--max_new_tokens', '40', '--batch_size', '1', '--judge', 'openai:tester', '--judge_concurrency', '1', '--output_dir', out];
  const args = ['eval-winrate', '--questions', questions, '--baseline', join(dir, 'arena-theirs.jsonl'), '--model_name_or_path', join(dir, 'policy'), ...sampling];
  const killing = new AbortController();
  let atFirst: number | undefined;
  // One request at a time: when the fifth comes, four verdicts are on disk.
  const { server, env } = await serve(t, (seen, response, n) => {
    atFirst ??= answered();
    if (n === 4) killing.abort();
    else void good(seen, response, n);
  });
  t.equal((await edpoBeside(args, env, killing.signal)).code, null);
  t.ok(atFirst! < 6, `the first question is asked with ${atFirst} of 6 answers there`);
  const [before, verdicts] = ['answers', 'annotations'].map((f) => readFileSync(join(out, `${f}.ndjson`), 'utf8'));
  t.ok(verdicts!.split('\n').length - 2 >= 3, verdicts);
  server.behaviour = good;
  const judged = server.seen.slice(0, 4).map((s) => s.text);
  const r = await edpoBeside(args, env);
  t.equal(r.code, 0, r.err);
  const whole = before!.slice(0, before!.lastIndexOf('\n') + 1);
  t.equal(readFileSync(join(out, 'answers.ndjson'), 'utf8').slice(0, whole.length), whole, 'answers are kept');
  t.same((lines('overlap', 'answers.ndjson').slice(1) as Array<{ index: number }>).map((l) => l.index).sort(), [0, 1, 2, 3, 4, 5]);
  const ids = (lines('overlap', 'annotations.ndjson').slice(1) as Array<{ id: string }>).map((l) => l.id);
  t.same([ids.length, new Set(ids).size], [12, 12], 'both games of every question, once');
  t.notOk(server.seen.slice(5).some((s) => judged.includes(s.text)), 'what was judged is not asked again');
  t.match(json('overlap', 'winrate.json'), { n: 6, arena_hard: { scores: [{}] } });

  // MT-Bench’s first turns are graded, and compared, before the second ones are sampled.
  for (const [name, more] of [['overlap-mt', []], ['overlap-pair', ['--judge_protocol', 'mt-bench', '--baseline', join(dir, 'mt-theirs.jsonl')]]] as const) {
    let there: number | undefined;
    server.behaviour = (seen, response, n) => {
      there ??= existsSync(join(dir, name, 'answers-turn2.ndjson')) ? lines(name, 'answers-turn2.ndjson').length - 1 : 0;
      void good(seen, response, n);
    };
    const run = await edpoBeside(['eval-winrate', '--questions', turns, '--model_name_or_path', join(dir, 'templated'), ...sampling.slice(0, -1), join(dir, name), ...more], env);
    t.equal(run.code, 0, run.err);
    t.ok(there! < 2, `${there} second turns are there`);
    const asked = server.seen.map((s) => s.text);
    const own = (lines(name, 'model_answer.jsonl') as Array<{ choices: Array<{ turns: string[] }> }>).map((l) => l.choices[0]!.turns);
    for (const [first, second] of own) t.ok(asked.some((text) => text.includes(first!) && text.includes(second!)), 'the second turn is shown with the first');
  }
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
