import { existsSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { InputError } from '../../src/errors.js';
import { askOpenAI, estimate, openaiJudge } from '../../src/model/judge/openai/judge.js';
import type { OpenAIOptions } from '../../src/model/judge/openai/options.js';
import type { EndpointQuestion } from '../../src/model/judge/openai/prompts.js';
import { ask, dir, fresh, KEY, questions, serve } from '../helpers/ask_judge.js';
import { completion, status } from '../helpers/judge_server.js';

t.test('an estimate says what will be sent, and sends nothing', async (t) => {
  const server = await serve(t);
  const cache = fresh();
  const env = { OPENAI_BASE_URL: server.url };
  // One comes twice; equal answers are no question to AlpacaEval's judge, and one to grade for both sides.
  const list = [...questions(10), { ...questions(1)[0]!, id: 'again' }, { id: 'equal', prompt: 'request 99', a: 'same', b: 'same' }];
  for (const [protocol, calls, most] of [['arena-hard', 11, 11 * 4096], ['alpaca-eval', 10, 10], ['mt-bench-single', 21, 21 * 2048]] as const) {
    const options = { model: 'judge-1', protocol, cache, env };
    const before = server.seen.length;
    const e = await estimate(options, list);
    t.equal(server.seen.length, before);
    t.match(e, { questions: 12, calls, cached: 0, completion_tokens_at_most: most }, protocol);
    await ask(server, list, { protocol, cache });
    const sent = server.seen.slice(before);
    t.equal(sent.length, calls);
    const bytes = sent.flatMap((s) => s.body.messages).map((m) => Buffer.byteLength(m.content));
    t.ok(e.prompt_tokens >= bytes.reduce((a, b) => a + b) / 4 && e.prompt_tokens <= bytes.reduce((a, b) => a + b / 4 + 5, 0), `${e.prompt_tokens} tokens`);
    t.match(await estimate(options, list), { calls: 0, cached: calls, prompt_tokens: 0, completion_tokens_at_most: 0 });
  }
  const none = fresh();
  t.equal((await estimate({ model: 'm', env: {}, cache: none, parameters: { max_tokens: null } }, [{ id: 'g', prompt: 'p', a: 'x', b: 'y' }])).completion_tokens_at_most, null, 'no key is needed');
  t.notOk(existsSync(none));
});

t.test('a user’s own prompts: AlpacaEval’s, Arena-Hard’s and FastChat’s files', async (t) => {
  const server = await serve(t, status(200, completion({ content: '[[A>B]] [[5]]' })));
  const file = (suffix: string, text: string): string => {
    const path = fresh(suffix);
    writeFileSync(path, text);
    return path;
  };
  const q: EndpointQuestion = { id: '0', prompt: 'why {answer_b}?', a: 'left $& {question}', b: 'right' };
  const send = async (template: string, over: Partial<OpenAIOptions> = {}, question = q): Promise<unknown> => {
    const ran = await ask(server, [question], { template, ...over });
    return ran.error?.message.split(dir).join('') ?? server.seen.at(-1)!.body.messages;
  };
  t.same(await send(file('.txt', '<|im_start|>system\nJudge.\n<|im_end|>\n<|im_start|>user\n{\n "q": "{instruction}"\n} {output_1} | {output_2}\n<|im_end|>\n')), [{ role: 'system', content: 'Judge.' }, { role: 'user', content: '{\n "q": "why {answer_b}?"\n} left $& {question} | right' }], 'one pass: braces and dollars in the texts stay');
  t.same(await send(file('.yaml', 'system_prompt: Judge.\nprompt_template: ["{question_1}: {answer_1} / {answer_2}"]\n')), [{ role: 'system', content: 'Judge.' }, { role: 'user', content: 'why {answer_b}?: left $& {question} / right' }]);
  t.same(await send(file('.yaml', 'prompt_template: "{QUESTION} {ANSWER_A} {ANSWER_B}"\n')), [{ role: 'user', content: 'why {answer_b}? left $& {question} right' }]);
  const line = (name: string, prompt_template: string): string => JSON.stringify({ name, type: 'x', system_prompt: 'S', prompt_template });
  const chat = file('.jsonl', `${line('pair-v2', 'one {question} {answer_a} {answer_b}')}\n${line('pair-math-v1', 'math {question} {ref_answer_1} {answer_a} {answer_b}')}\n${line('pair-v2-multi-turn', 'two {question_1} {question_2} {answer_a_1} {answer_a_2} {answer_b_1} {answer_b_2}')}\n${line('single-v1', 'alone {question} {answer}')}\n`);
  const last = (m: unknown): unknown => (m as Array<{ content: string }>).at(-1)?.content ?? m;
  const plain = { ...q, prompt: 'Q', a: 'A', b: 'B' };
  t.equal(last(await send(chat, {}, plain)), 'one Q A B');
  t.equal(last(await send(chat, {}, { ...plain, reference: 'R' })), 'math Q R A B');
  t.equal(last(await send(chat, {}, { ...plain, earlier: [{ prompt: 'Q0', a: 'A0', b: 'B0' }] })), 'two Q0 Q A0 A B0 B');
  t.equal(last(await send(`${chat}#single-v1`, { protocol: 'mt-bench-single' }, plain)), 'alone Q B');
  t.match(await send(`${chat}#pair-v3`), /has no prompt named pair-v3; it has pair-v2, pair-math-v1/);
  t.match(await send(`${chat}#pair-v2`, {}, { ...plain, earlier: [{ prompt: 'Q0', a: 'A0', b: 'B0' }] }), /nothing to put for \{question\} in a question of 2 turns/);
  t.match(await send(file('.txt', '{question} {answer_a}')), /no place for answer B; its placeholders are \{question\}, \{answer_a\}/);
  t.match(await send(file('.txt', '{question} {answer_a} {answer_b} {mood}')), /nothing to put for \{mood\}/);
  t.match(await send(file('.yaml', 'prompt_template: [a, b]')), /must be a text/);
  t.match(await send(file('.jsonl', '{')), /is not JSON/);
  t.match(await send('/nowhere.txt'), /no such file/);
  const identity = (template?: string): unknown => openaiJudge({ model: 'm', protocol: 'arena-hard', env: { OPENAI_BASE_URL: server.url }, ...(template ? { template } : {}) }).identity['prompt'];
  t.not(identity(chat), identity(), 'another prompt is another judge');
});

t.test('settings are checked before anything is sent', async (t) => {
  const env = { OPENAI_BASE_URL: 'http://127.0.0.1:1/v1' };
  const bad: Array<[Partial<OpenAIOptions>, RegExp]> = [
    [{ env: {} }, /needs a key for https:\/\/api\.openai\.com\/v1\/chat\/completions/],
    [{ env: { OPENAI_BASE_URL: 'localhost' } }, /expected an http\(s\) address, got "localhost"/],
    [{ env: { OPENAI_BASE_URL: 'file:///etc' } }, /expected an http\(s\) address/],
    [{ env: { OPENAI_BASE_URL: `http://me:${KEY}@host/v1` } }, /user name or password/],
    [{ apiKey: `${KEY}\nx` }, /characters that no key has/],
    [{ model: ' ' }, /a model is missing/],
    [{ protocol: 'arena' as 'arena-hard' }, /expected one of alpaca-eval, arena-hard/],
    [{ concurrency: 0 }, /concurrency: expected a whole number >= 1, got 0/],
    [{ retries: 1.5 }, /retries/],
  ];
  for (const [o, message] of bad) {
    t.throws(() => openaiJudge({ model: 'm', env, ...o }), InputError, `${message}`);
    const error = await askOpenAI({ model: 'm', env, ...o }, [], () => undefined).then(() => undefined, (e: unknown) => e as Error);
    t.ok(error instanceof InputError && message.test(error.message) && !error.message.includes(KEY), `${error?.message}`);
  }
  const local = await ask(await serve(t), questions(1), { env: {}, baseURL: `${(await serve(t)).url}/chat/completions` });
  t.equal(local.verdicts.size, 1, 'a server of one’s own needs no key, and the full address is the same place');
});
