import { readFileSync } from 'node:fs';
import t from 'tap';
import { InputError } from '../../src/errors.js';
import { rateOpenAI } from '../../src/model/judge/openai/judge.js';
import type { OpenAIOptions } from '../../src/model/judge/openai/options.js';
import type { Verdict } from '../../src/model/judge/types.js';
import { ask, fresh, KEY, questions, same, serve } from '../helpers/ask_judge.js';
import { completion, status } from '../helpers/judge_server.js';

t.test('every protocol: what is sent, what is read', async (t) => {
  const list = questions(12);
  for (const [protocol, limit] of [['alpaca-eval', 1], ['arena-hard', 4096], ['arena-hard-v2', 16000], ['mt-bench', 2048]] as const) {
    const server = await serve(t);
    const ran = await ask(server, list, { protocol });
    same(t, ran, list);
    t.match(server.seen[0], { path: '/v1/chat/completions', headers: { authorization: `Bearer ${KEY}` }, body: { model: 'judge-1', max_tokens: limit, ...(protocol === 'alpaca-eval' ? { logprobs: true, top_logprobs: 5, temperature: 1 } : { temperature: 0 }) } }, protocol);
    t.equal(server.seen.length, 12);
    t.same(ran.totals, { sent: 12, cached: 0, invalid: 0, prompt_tokens: 1200, completion_tokens: 84 });
    if (protocol !== 'alpaca-eval') continue;
    for (const q of list) {
      const [m, M] = [q.a, q.b].map((text) => Math.exp(-1 / (1 + text.length))) as [number, number];
      t.ok(Math.abs((ran.details.get(q.id)!['preference'] as number) - (2 - m / (m + M))) < 1e-14, 'the preference is 2 - p(m)');
    }
  }
});

t.test('both orders: the sides change places, and so do verdict and preference', async (t) => {
  const list = questions(9).flatMap((q) => [{ ...q, id: `${q.id}:ab` }, { ...q, id: `${q.id}:ba`, a: q.b, b: q.a }]);
  const ran = await ask(await serve(t), list, { protocol: 'alpaca-eval' });
  same(t, ran, list);
  for (let i = 0; i < 9; i++) t.ok(Math.abs((ran.details.get(`${i}:ab`)!['preference'] as number) + (ran.details.get(`${i}:ba`)!['preference'] as number) - 3) < 1e-14);
});

t.test('hashed order: shown by AlpacaEval’s rule, told in the question’s own order', async (t) => {
  // random.Random(f'is_switched_outputsinstruction {i}0').choices([False, True])[0] in CPython, i from 0
  const switches = '0110111000110011001010101110110110000110000100011100010101101011';
  const list = [...switches].map((_, i) => ({ id: `${i}`, prompt: `instruction ${i}`, a: 'a'.repeat(4), b: 'b'.repeat(1 + (i % 7)) }));
  const server = await serve(t);
  const ran = await ask(server, list, { protocol: 'alpaca-eval', order: 'hashed' });
  // Equal lengths are still two texts.
  same(t, ran, list);
  t.equal(list.map((q) => (ran.details.get(q.id)!['switched'] ? '1' : '0')).join(''), switches);
  for (const seen of server.seen) {
    const i = Number(/instruction (\d+)/.exec(seen.text)![1]);
    t.equal(/<<< answer of m\n(\w)/.exec(seen.text)![1], switches[i] === '1' ? 'b' : 'a');
  }
  for (const q of list) t.equal(Math.sign((ran.details.get(q.id)!['preference'] as number) - 1.5), Math.sign(q.b.length - q.a.length), 'preference 1 is a, 2 is b');
});

t.test('equal answers are AlpacaEval’s draw without a question; a request that comes twice is sent once', async (t) => {
  const server = await serve(t);
  const equal = await ask(server, [{ id: '0', prompt: 'request 0', a: 'same', b: 'same' }], { protocol: 'alpaca-eval' });
  t.same([equal.verdicts.get('0'), equal.details.get('0')!['preference'], server.seen.length], ['tie', 1.5, 0]);
  const twice = await ask(server, [{ id: 'x', prompt: 'request 0', a: 'aaa', b: 'b' }, { id: 'y', prompt: 'request 0', a: 'aaa', b: 'b' }]);
  t.same([...twice.verdicts.values(), server.seen.length], ['a', 'a', 1]);
});

t.test('MT-Bench single: ratings, as a comparison and alone; turns and references are shown', async (t) => {
  const server = await serve(t);
  const list = questions(6);
  const ran = await ask(server, list, { protocol: 'mt-bench-single' });
  same(t, ran, list);
  t.match(ran.details.get('0'), { rating_a: 2, rating_b: 1 });
  const ratings: unknown[] = [];
  await rateOpenAI({ model: 'judge-1', env: { OPENAI_BASE_URL: server.url } }, [
    { id: 'one', prompt: 'p', answer: 'x'.repeat(4) },
    { id: 'two', prompt: 'and then?', answer: 'x'.repeat(9), earlier: [{ prompt: 'first of all', answer: 'earlier answer', reference: 'right at first' }], reference: 'right then' },
  ], (id, rating) => ratings.push([id, rating]));
  t.same(ratings.sort(), [['one', 4], ['two', 9]], 'the last turn is rated');
  const text = server.seen.map((s) => s.text).find((x) => x.includes('and then?'))!;
  const order = ['first of all', 'right at first', 'earlier answer', 'and then?', 'right then', 'x'.repeat(9)].map((part) => text.indexOf(part));
  t.ok(order.every((at, i) => at > (order[i - 1] ?? -1)), 'turns in order, the reference before the answer');
  await t.rejects(rateOpenAI({ model: 'm', protocol: 'mt-bench', env: { OPENAI_BASE_URL: server.url } }, [], () => undefined), { message: /compares two answers/ });
});

t.test('replies that are no verdicts are counted and never guessed', async (t) => {
  const say = (content: string | null, over: object = {}): string => completion({ content: content as string }, over);
  const cases: Array<[OpenAIOptions['protocol'], string, Verdict, RegExp | undefined]> = [
    ['arena-hard', say('A is better.'), 'invalid', /no \[\[…\]\] label/],
    ['arena-hard', say(''), 'invalid', /no \[\[/],
    ['arena-hard', say(null, { finish_reason: 'content_filter' }), 'invalid', /filter/],
    ['arena-hard', say('long thoughts', { finish_reason: 'length' }), 'invalid', /cut by max_tokens/],
    ['arena-hard', say('[[A>B]] or [[B>A]]'), 'invalid', /different labels: A>B, B>A/],
    ['arena-hard', say('[[A<B]]'), 'invalid', /"A<B" is no verdict/],
    ['arena-hard', say('[[A=B]] … so [[A=B]]'), 'tie', undefined],
    ['arena-hard', say('[[B>>A]]'), 'b', undefined],
    ['arena-hard-v2', say('not [[A>B]] but [[b>a]]'), 'b', undefined],
    ['arena-hard-v2', say('[A<<B]'), 'b', undefined],
    ['arena-hard-v2', say('[[A]]'), 'invalid', /"A" is no verdict/],
    ['mt-bench', say('[[D]]'), 'invalid', /no \[\[A\]\]/],
    ['mt-bench', say('[[A]] [[B]]'), 'invalid', /different labels/],
    ['mt-bench', say('[[C]]'), 'tie', undefined],
    ['mt-bench-single', say('[[11]]'), 'invalid', undefined],
    ['mt-bench-single', say('8 out of 10, [8]'), 'invalid', undefined],
    ['mt-bench-single', say('[[7.5]]'), 'tie', undefined],
    ['alpaca-eval', completion({ content: 'The', top: [{ token: 'The', logprob: -0.1 }, { token: ' m', logprob: -3 }] }), 'invalid', /neither m nor M/],
    ['alpaca-eval', completion({ content: 'm', top: [{ token: 'm', logprob: -0.1 }] }), 'a', undefined],
    ['alpaca-eval', completion({ content: 'M', top: [{ token: 'M', logprob: -0.1 }] }), 'b', undefined],
    ['alpaca-eval', completion({ content: 'm', top: [{ token: 'm', logprob: -1 }, { token: 'M', logprob: -1 }] }), 'tie', undefined],
  ];
  for (const [protocol, body, want, why] of cases) {
    const server = await serve(t, status(200, body));
    const cache = fresh();
    const ran = await ask(server, questions(1), { protocol, cache });
    t.equal(ran.verdicts.get('0'), want, `${protocol}: ${body.slice(90, 260)}`);
    if (why) t.match(ran.details.get('0')!['reason'], why);
    t.equal(ran.totals!.invalid, want === 'invalid' ? 1 : 0);
    // A whole reply is kept, whatever it says: asking again would not be the same experiment.
    const sent = server.seen.length;
    t.equal((await ask(server, questions(1), { protocol, cache })).verdicts.get('0'), want);
    t.equal(server.seen.length, sent);
  }
});

t.test('an endpoint without log-probabilities is told at once', async (t) => {
  const server = await serve(t, status(200, completion({ content: 'm' })));
  const cache = fresh();
  const ran = await ask(server, questions(50), { protocol: 'alpaca-eval', concurrency: 2, cache });
  t.ok(ran.error instanceof InputError && /no log-probabilities/.test(ran.error.message) && /arena-hard/.test(ran.error.hint!), `${ran.error?.message}`);
  t.ok(server.seen.length <= 2);
  t.equal(readFileSync(cache, 'utf8'), '');
});
