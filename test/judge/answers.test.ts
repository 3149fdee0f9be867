import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import t from 'tap';
import { detectAnswers, readAnswers, type AnswerFile } from '../../src/model/judge/answers.js';
import { matchAnswers } from '../../src/model/judge/match.js';
import { readQuestions, withQuestions } from '../../src/model/judge/questions.js';
import { rows } from '../../src/model/data/rows.js';
import { singleTurnPrompts } from '../../src/model/judge/single_turn.js';
import { realTest, sharedData } from '../helpers/shared.js';

const folder = mkdtempSync(join(tmpdir(), 'edpo-answers-test-'));
t.teardown(() => rmSync(folder, { recursive: true }));
let files = 0;
const file = (name: string, body: string | Buffer): string => {
  const path = join(folder, `${files++}-${name}`);
  writeFileSync(path, body);
  return path;
};
const jsonl = (values: unknown[]): string => file('a.jsonl', values.map((v) => `${typeof v === 'string' ? v : JSON.stringify(v)}\n`).join(''));
const alpaca = (values: Array<[string, string]>, generator = 'm'): Promise<AnswerFile> => readAnswers(file('o.json', JSON.stringify(values.map(([instruction, output]) => ({ instruction, output, generator, dataset: 'koala' })), null, 1)));

const ARENA = (id: string, answer: string): object => ({ question_id: id, answer_id: 'x', model_id: 'm', choices: [{ index: 0, turns: [{ content: answer, token_len: 3 }] }], tstamp: 1 });
const ARENA2 = (uid: string, answer: string): object => ({ uid, ans_id: 'x', model: 'm', messages: [{ role: 'user', content: `ask ${uid}` }, { role: 'assistant', content: { answer } }], tstamp: 1, metadata: { token_len: 7, header_count: { h1: 1, h2: 2 }, list_count: { ordered: 0, unordered: 4 }, bold_count: { '**': 5, __: 0 } } });
const MT = (id: number, turns: string[]): object => ({ question_id: id, answer_id: 'x', model_id: 'm', choices: [{ index: 0, turns }], tstamp: 1 });

t.test('formats are found by their keys', async (t) => {
  t.equal(detectAnswers(ARENA('q', 'a') as Record<string, unknown>), 'arena-hard-v0.1');
  t.equal(detectAnswers(ARENA2('q', 'a') as Record<string, unknown>), 'arena-hard-v2');
  t.equal(detectAnswers(MT(81, ['a', 'b']) as Record<string, unknown>), 'mt-bench');
  t.equal(detectAnswers({ instruction: 'i', output: 'o', generator: 'g' }), 'alpaca-eval');
  t.equal(detectAnswers({ prompt: 'i', output: 'o' }), 'plain');
  for (const none of [{}, { choices: [] }, { choices: [{ turns: [] }] }, { choices: 'x' }, { messages: [] }, { instruction: 'i' }, { chosen: 'a', rejected: 'b' }]) t.equal(detectAnswers(none), undefined, JSON.stringify(none));
});

t.test('one reader for all of them', async (t) => {
  const a = await readAnswers(file('o.json.gz', gzipSync(JSON.stringify([{ instruction: 'Say é', output: 'é', generator: 'g', dataset: 'koala' }, { instruction: 'Sort', input: '3 1', output: '1 3', generator: 'g' }]))));
  t.match(a, { format: 'alpaca-eval', answers: [{ prompts: ['Say é'], outputs: ['é'], generator: 'g', category: 'koala' }, { prompts: ['Sort\n\n3 1'] }] });
  t.notOk('id' in a.answers[0]!);
  t.match(await readAnswers(jsonl([ARENA('q1', 'one')])), { format: 'arena-hard-v0.1', answers: [{ id: 'q1', prompts: [], outputs: ['one'], generator: 'm' }] });
  t.match(await readAnswers(jsonl([ARENA2('u1', 'two')])), { format: 'arena-hard-v2', answers: [{ id: 'u1', prompts: ['ask u1'], outputs: ['two'], style: { tokens: 7, headers: 3, lists: 4, bold: 5 } }] });
  t.match(await readAnswers(jsonl([MT(81, ['one', 'two'])])), { format: 'mt-bench', answers: [{ id: '81', outputs: ['one', 'two'] }] });
  t.match(await readAnswers(jsonl([{ prompt: 'p', output: 'o' }, { id: 7, instruction: 'q', output: 'o' }])), { format: 'plain', answers: [{ prompts: ['p'] }, { id: '7', prompts: ['q'] }] });
  t.match(await readAnswers(jsonl([{ weights: 'w', sampling: {} }, { index: 4, output: 'o', tokens: 1, finish: 'stop' }])), { format: 'plain', answers: [{ id: '4', prompts: [], outputs: ['o'] }] });
});

t.test('files that are not what they seem: one error each, with the line', async (t) => {
  const fault = (path: string, message: RegExp): Promise<unknown> => t.rejects(readAnswers(path), { name: 'InputError', message, exitCode: 2 });
  await fault(jsonl([{ prompt: 'p', output: 'o' }, '{"prompt": "q", "outp']), /line 2 is no JSON/);
  await fault(jsonl([{ prompt: 'p', output: 'o' }, '[1]']), /line 2: expected an object with columns, got an array/);
  await fault(file('cut.json', '[{"instruction":"i","output":"o"},{"instruction":"k","out'), /ends on line 1 in the middle of the array/);
  await fault(jsonl([ARENA('q', 'a'), MT(81, ['b'])]), /line 2: expected a row of the format arena-hard-v0.1 as in the first row, got mt-bench/);
  await fault(jsonl([MT(81, ['b']), { question_id: 82, choices: [] }]), /line 2: expected a row of the format mt-bench as in the first row, got columns question_id, choices/);
  await fault(jsonl([{ chosen: 'a', rejected: 'b' }]), /line 1: no known format of answers; it has chosen, rejected/);
  await fault(jsonl([{ output: 'o' }]), /line 1: expected prompt, instruction, id or index beside output/);
  await fault(jsonl([{ instruction: 'i', output: null }]), /line 1: output must be a text, got null/);
  await fault(jsonl([MT(81, ['a', 5 as unknown as string])]), /line 1: turn 2 must be a text, got 5/);
  await fault(jsonl([{ uid: 'u', messages: [{ role: 'user', content: 'q' }] }]), /line 1: messages hold no answer/);
  await fault(jsonl([]), /holds no answers/);
  await fault(join(folder, 'absent.jsonl'), /cannot read .*absent\.jsonl/);
});

t.test('outputs and baseline are matched by instruction or id', async (t) => {
  const model = await alpaca([['a', '1'], ['b', '2']]);
  const base = await alpaca([['b', 'B'], ['a', 'A']], 'base');
  t.match(matchAnswers(model, base), [{ key: 'a', turn: 1, prompt: 'a', output: '1', baseline: 'A', category: 'koala' }, { key: 'b', output: '2', baseline: 'B' }]);
  const plain = await readAnswers(jsonl([{ index: 0, prompt: 'a', output: 'x' }, { index: 1, prompt: 'b', output: 'y' }]));
  t.same(matchAnswers(plain, base).map((m) => [m.key, m.baseline]), [['a', 'A'], ['b', 'B']], 'one side has no ids: by instruction');
  const twice = await readAnswers(jsonl([{ index: 0, prompt: 'a', output: 'x' }, { index: 1, prompt: 'a', output: 'y' }]));
  t.same(matchAnswers(twice, twice).map((m) => [m.key, m.output]), [['0', 'x'], ['1', 'y']], 'ids tell equal instructions apart');
  const [mt, mtBase] = [await readAnswers(jsonl([MT(81, ['one', 'two'])])), await readAnswers(jsonl([MT(81, ['eins', 'zwei'])]))];
  t.match(matchAnswers(mt, mtBase), [{ key: '81', turn: 1, prompt: undefined, output: 'one', baseline: 'eins' }, { key: '81', turn: 2, output: 'two', baseline: 'zwei' }]);
  const questions = await readQuestions(jsonl([{ question_id: 81, category: 'writing', turns: ['Write.', 'Again.'], reference: ['r1', 'r2'] }]));
  t.match(matchAnswers(withQuestions(mt, questions), mtBase), [{ prompt: 'Write.', category: 'writing' }, { prompt: 'Again.' }]);
  t.match([...(await readQuestions(jsonl([{ question_id: 'q', category: 'arena', cluster: 'c', turns: [{ content: 'Hi' }] }, { uid: 'u', category: 'hard_prompt', prompt: 'Ho' }]))).values()], [{ id: 'q', prompts: ['Hi'] }, { id: 'u', category: 'hard_prompt', prompts: ['Ho'] }]);
});

t.test('what does not match is named, one error each', async (t) => {
  const base = await alpaca([['a', 'A'], ['b', 'B'], ['c', 'C']], 'base');
  const fault = (model: AnswerFile, other: AnswerFile, message: RegExp): unknown => t.throws(() => matchAnswers(model, other), { message, exitCode: 2 });
  const five = await alpaca([['a', '1'], ['v', '2'], ['w', '3'], ['x', '4'], ['y', '5']]);
  fault(five, base, /do not match .*\n {2}4 of 5 outputs have no baseline: "v", "w", "x" and 1 more\n {2}2 of 3 baseline answers have no output: "b", "c"$/s);
  fault(await alpaca([['a', '1'], ['b', '2']]), base, /do not match .*\n {2}1 of 3 baseline answers have no output: "c"$/s);
  fault(await alpaca([['a', '1'], ['b', '2'], ['a', '3'], ['c', '4']]), base, /1 duplicate instructions: "a" \(item 0 \(line 2\) and item 2 \(line \d+\)\)/);
  fault(base, await alpaca([['a', '1'], ['b', '2'], ['b', '3'], ['c', '4']]), /1 duplicate instructions: "b"/);
  fault(await alpaca([['a', '1'], ['b', ' \n'], ['c', '']]), base, /2 of 3 outputs are empty: item 1 \(line \d+\), item 2 \(line \d+\)/);
  t.equal(matchAnswers(await alpaca([['a', '1'], ['b', ' \n'], ['c', '']]), base, { allowEmpty: true }).length, 3);
  const arena = await readAnswers(jsonl([ARENA('q1', 'one')]));
  fault(arena, base, /cannot be matched: .*arena-hard-v0\.1\) has ids, .*alpaca-eval\) has instructions/);
  fault(await readAnswers(jsonl([ARENA('q1', 'one'), ARENA('q1', 'two')])), arena, /1 duplicate ids: id q1 \(line 1 and line 2\)/);
  const [p, q] = [await readAnswers(jsonl([{ id: 1, prompt: 'a', output: 'x' }])), await readAnswers(jsonl([{ id: 1, prompt: 'b', output: 'x' }]))];
  fault(p, q, /do not match: id 1 is "a" in .* line 1, "b" in .* line 1/);
  fault(await readAnswers(jsonl([MT(81, ['one', 'two'])])), await readAnswers(jsonl([MT(81, ['one'])])), /id 81 has 2 turns in .* line 1, 1 in .* line 1/);
  const questions = await readQuestions(jsonl([{ question_id: 82, turns: ['x'] }]));
  t.throws(() => withQuestions(arena, questions), { message: /1 of 1 answers belong to no question .*id q1/, exitCode: 2 });
  await t.rejects(readQuestions(jsonl([{ question_id: 82, turns: ['x'] }, { question_id: 82, turns: ['x'] }])), { message: /line 2: question 82 comes twice/ });
  await t.rejects(readQuestions(jsonl([{ question_id: 82, turns: [5] }])), { message: /line 1: expected turns/ });
  t.throws(() => withQuestions({ path: 'p', format: 'mt-bench', answers: [{ id: '82', prompts: [], outputs: ['a', 'b'], where: 'p line 1' }] }, questions), { message: /p line 1: 2 turns answered, but question 82 has 1/ });
});

t.test('single-turn prompts by rule', async (t) => {
  const pairs = [
    { chosen: '\n\nHuman: one?\n\nAssistant: yes ', rejected: '\n\nHuman: one?\n\nAssistant: no' },
    { chosen: '\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d', rejected: '\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: e' },
    { chosen: '\n\nHuman: two\n\nAssistant:', rejected: '\n\nHuman: two\n\nAssistant: b\n\nHuman: c\n\nAssistant: e' },
    { chosen: 'no dialogue' },
  ];
  t.same(singleTurnPrompts(pairs), [
    { index: 0, prompt: 'one?', dialogue: '\n\nHuman: one?\n\nAssistant:', chosen: 'yes', prompts_differ: false },
    { index: 2, prompt: 'two', dialogue: '\n\nHuman: two\n\nAssistant:', chosen: '', prompts_differ: true },
  ]);
});

realTest('single-turn prompts of the real test splits', async (t) => {
  for (const [name, count] of [['helpful-base', 700], ['harmless-base', 662]] as const) {
    const pairs: Array<{ chosen: string; rejected: string }> = [];
    for await (const { value } of rows(sharedData('hh-rlhf', name, 'test.jsonl.gz'))) pairs.push(value as { chosen: string; rejected: string });
    const prompts = singleTurnPrompts(pairs);
    t.equal(prompts.length, count, name);
    t.comment(`${name}: ${prompts.filter((p) => p.prompts_differ).length} whose rejected side differs, ${prompts.filter((p) => p.chosen === '').length} empty chosen, ${prompts.length - new Set(prompts.map((p) => p.prompt)).size} repeated prompts`);
    t.ok(prompts.every((p) => p.prompt !== '' && !p.prompt.includes('\n\nHuman:') && p.dialogue.endsWith('\n\nAssistant:') && pairs[p.index]!.chosen.startsWith(p.dialogue)));
  }
});
