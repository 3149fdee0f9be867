import { gunzipSync } from 'node:zlib';
import { readFileSync } from 'node:fs';
import t from 'tap';
import { detectFormat, readExample, type Example, type Refusal } from '../../src/model/data/formats.js';
import { hhDialogue, hhSingleTurn, hhSplit } from '../../src/model/data/hh.js';
import { chatTemplate } from '../../src/model/text/template.js';
import { realTest, sharedData } from '../helpers/shared.js';

const template = chatTemplate('{{ messages }}', undefined, {});
const read = (value: Record<string, unknown>, sides: 1 | 2 = 2, format = detectFormat(value), chat = false): Example | Refusal =>
  readExample({ value, where: 'here' }, format, sides, chat ? template : undefined);
const user = (content: string) => ({ role: 'user', content });
const bot = (content: string) => ({ role: 'assistant', content });
const DIFFER = { refused: 'prompts of the two sides differ' };

t.test('an explicit prompt stays what it is', async (t) => {
  const prompt = [user('hi')];
  t.same(read({ prompt, chosen: [bot('A'), user('B'), bot('C')], rejected: [bot('A'), user('B'), bot('D')] }),
    { kind: 'chat', prompt, chosen: [bot('A'), user('B'), bot('C')], rejected: [bot('A'), user('B'), bot('D')] }, 'shared turns of the answers are no prompt');
  t.same(read({ prompt, chosen: [user('hi'), bot('A')], rejected: [user('hi'), bot('B')] }), { kind: 'chat', prompt, chosen: [bot('A')], rejected: [bot('B')] }, 'repeated by both sides');
  t.same(read({ prompt, chosen: [user('hi'), bot('A')], rejected: [user('ho'), bot('B')] }), DIFFER, 'repeated by one');
  t.same(read({ prompt, chosen: [user('hi'), bot('A')], rejected: [bot('B')] }), DIFFER);
  t.same(read({ prompt, chosen: [user('hi'), bot('A')] }, 1), { kind: 'chat', prompt, chosen: [bot('A')] }, 'the chosen side alone does not say it twice');
  t.same(read({ prompt, chosen: 'A', rejected: 'B' }), { kind: 'chat', prompt, chosen: [bot('A')], rejected: [bot('B')] });
  t.throws(() => read({ prompt: 7, chosen: 'A', rejected: 'B' }), /here: prompt must be a text or a list of \{role, content\}, got a value of type number/);
});

t.test('a text prompt beside dialogues: repeated, or the user’s turn', async (t) => {
  t.same(read({ prompt: 'hi', chosen: [user('hi'), bot('A')], rejected: [user('hi'), bot('B')] }), { kind: 'chat', prompt: [user('hi')], chosen: [bot('A')], rejected: [bot('B')] });
  t.same(read({ prompt: 'hi', chosen: [bot('A')], rejected: [bot('B')] }), { kind: 'chat', prompt: [user('hi')], chosen: [bot('A')], rejected: [bot('B')] });
  t.same(read({ prompt: 'hi', chosen: [user('hi'), bot('A')], rejected: [user('ho'), bot('B')] }), DIFFER, 'never the prompt and a repeated prompt behind it');
});

t.test('an implicit prompt is the common beginning', async (t) => {
  t.same(read({ chosen: [user('a'), bot('b'), user('c'), bot('D')], rejected: [user('a'), bot('b'), user('c'), bot('E')] }), { kind: 'chat', prompt: [user('a'), bot('b'), user('c')], chosen: [bot('D')], rejected: [bot('E')] });
  t.same(read({ chosen: [user('a'), bot('D')], rejected: [user('b'), bot('E')] }), { refused: 'no prompt: the two dialogues share no first message' });
  t.same(read({ chosen: 'Q: x A: yes', rejected: 'Q: x A: no' }), { kind: 'text', prompt: 'Q: x A:', chosen: ' yes', rejected: ' no' }, 'the space goes to the answers');
  t.same(read({ chosen: 'Q: 😀', rejected: 'Q: 😁' }), { kind: 'text', prompt: 'Q:', chosen: ' 😀', rejected: ' 😁' }, 'no character is cut in half');
  t.same(read({ chosen: 'yes', rejected: 'no' }), { refused: 'no prompt: chosen and rejected share no beginning' });
  t.same(read({ chosen: 'Q: x A: yes', rejected: 'Q: x A: no' }, 1), { kind: 'text', prompt: 'Q: x A:', chosen: ' yes' }, 'SFT on the chosen side finds it from both');
  t.throws(() => read({ chosen: 'yes' }, 1), /column prompt is missing/);
  t.same(read({ chosen: [], rejected: [user('a')] }), { refused: 'empty response' });
});

t.test('SFT rows', async (t) => {
  t.same(read({ prompt: 'p', completion: 'c' }, 1), { kind: 'text', prompt: 'p', chosen: 'c' });
  t.same(read({ prompt: [user('p')], completion: [bot('c')] }, 1), { kind: 'chat', prompt: [user('p')], chosen: [bot('c')] });
  t.same(read({ messages: [user('p'), bot('c')] }, 1), { kind: 'chat', prompt: [user('p')], chosen: [bot('c')] });
  t.same(read({ text: 'c' }, 1), { kind: 'text', prompt: '', chosen: 'c' });
  t.same(read({ prompt: 'p', chosen: 'c', rejected: 'd' }, 1), { kind: 'text', prompt: 'p', chosen: 'c' });
  t.same(read({ prompt_ids: [1], chosen_ids: [2] }, 1), { kind: 'ids', prompt: [1], chosen: [2] });
  t.same(read({ messages: [user('p'), bot('c'), user('q')] }, 1), { refused: 'the dialogue does not end with an answer' });
  t.same(read({ messages: [bot('c')] }, 1), { refused: 'no prompt: a dialogue of fewer than two messages' });
  t.throws(() => read({ question: 'p' }, 1), /expected prompt and completion, messages, text, or chosen; it has question/);
});

t.test('wrong columns and values', async (t) => {
  t.throws(() => read({ prompt: 'p', chosen: 'c' }), { message: /here: column rejected is missing; it has prompt, chosen/, exitCode: 2 });
  t.throws(() => read({ prompt: 'p', chosen: 'c', rejected: [bot('d')] }), /got a text and a list of messages/);
  t.throws(() => read({ prompt: 'p', chosen: ['c'], rejected: ['d'] }), /got a list of other things and a list of other things/);
  t.throws(() => read({ prompt_ids: [1], chosen_ids: [2] }), /column rejected_ids is missing/);
  for (const bad of [[-1], [1.5], 'ids', ['1']]) t.throws(() => read({ prompt_ids: [1], chosen_ids: [2], rejected_ids: bad }), /rejected_ids must be a list of token ids/);
  t.same(read({ prompt_ids: [1n], chosen_ids: [2n], rejected_ids: [3n] }), { kind: 'ids', prompt: [1], chosen: [2], rejected: [3] }, 'parquet’s 64-bit integers');
  t.throws(() => read({ chosen: [bot('c')], rejected: [bot('d')] }, 2, 'hh'), /here: chosen and rejected must be texts, got a list of messages and a list of messages/);
});

t.test('HH text: the last assistant turn is the reply; turns become messages where there is a template', async (t) => {
  const head = '\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:';
  const row = { chosen: `${head} D`, rejected: `${head} E` };
  t.equal(detectFormat(row), 'hh');
  t.same(read(row), { kind: 'text', prompt: head, chosen: ' D', rejected: ' E' });
  t.same(read(row, 2, 'hh', true), { kind: 'chat', prompt: [user('a'), bot('b'), user('c')], chosen: [bot('D')], rejected: [bot('E')] });
  t.same(read(row, 1), { kind: 'text', prompt: head, chosen: ' D' });
  t.same(read({ chosen: `${head} D`, rejected: '\n\nHuman: z\n\nAssistant: E' }), DIFFER);
  t.same(read({ chosen: `Hello.${head} D`, rejected: `Hello.${head} E` }, 2, 'hh', true), { refused: 'text before the first turn' }, 'not lost without a word');
  t.throws(() => read({ chosen: 'x', rejected: 'y' }, 2, 'hh'), /no "\\n\\nAssistant:" turn/);
  t.equal(detectFormat({ chosen: '\n\nHuman: a', rejected: '', prompt: 'p' }), 'hf', 'with a prompt column it is TRL’s form of the set');
  t.same(hhDialogue('\n\nHuman:a\n\nHuman: b\n\nAssistant:'), [user('a'), user('b')]);
});

realTest('HH: single turns and how often the chosen reply is the longer one', async (t) => {
  for (const [name, single, longer] of [['helpful-base', 700, '0.5956'], ['harmless-base', 662, '0.4425']] as const) {
    const lines = gunzipSync(readFileSync(sharedData('hh-rlhf', name, 'test.jsonl.gz'))).toString('utf8').split('\n').filter(Boolean);
    const pairs = lines.map((l) => JSON.parse(l) as { chosen: string; rejected: string });
    t.equal(pairs.filter((p) => hhSingleTurn(p.chosen)).length, single);
    const size = (text: string): number => Array.from(hhSplit(text)!.reply).length;
    t.equal((pairs.filter((p) => size(p.chosen) > size(p.rejected)).length / pairs.length).toFixed(4), longer);
  }
});
