import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';
import { EdpoError, InputError } from '../../src/errors.js';
import { askOpenAI, estimate, openaiJudge, rateOpenAI } from '../../src/model/judge/openai/judge.js';
import type { Clock, OpenAIOptions } from '../../src/model/judge/openai/options.js';
import type { EndpointQuestion } from '../../src/model/judge/openai/prompts.js';
import { Queue } from '../../src/model/judge/queue.js';
import type { Verdict } from '../../src/model/judge/types.js';
import { completion, first, good, JudgeServer, opinion, status, type Behaviour } from '../helpers/judge_server.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-openai-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
let files = 0;
let sleeping = (): void => undefined;
const fresh = (suffix = '.ndjson'): string => join(dir, `${files++}${suffix}`);
const KEY = 'sk-test-0123456789abcdef';

const questions = (n: number): EndpointQuestion[] => Array.from({ length: n }, (_, i) => ({ id: `${i}`, prompt: `request ${i}`, a: 'a'.repeat(2 + (i % 5)), b: 'b'.repeat(1 + (i % 7)) }));
const longer = (q: EndpointQuestion): Verdict => (q.a.length > q.b.length ? 'a' : q.a.length < q.b.length ? 'b' : 'tie');

interface Ran { verdicts: Map<string, Verdict>; details: Map<string, Record<string, unknown>>; slept: number[]; notes: string[]; error?: EdpoError; totals?: Awaited<ReturnType<typeof askOpenAI>> }
/** Asks with a clock that never waits, and gathers everything there is to see. */
async function ask(server: { url: string }, list: EndpointQuestion[] | Queue<EndpointQuestion>, o: Partial<OpenAIOptions> = {}): Promise<Ran> {
  const ran: Ran = { verdicts: new Map(), details: new Map(), slept: [], notes: [] };
  const clock: Clock = { now: () => Date.UTC(2026, 0, 1), random: () => 0.5, sleep: (ms) => new Promise((resolve) => (ran.slept.push(ms), setImmediate(resolve))) };
  try {
    ran.totals = await askOpenAI({ model: 'judge-1', protocol: 'arena-hard', env: { OPENAI_BASE_URL: server.url, OPENAI_API_KEY: KEY }, clock, note: (text) => ran.notes.push(text), ...o }, list, (id, verdict, detail) => {
      if (ran.verdicts.has(id)) throw new Error(`question ${id} has two verdicts`);
      ran.verdicts.set(id, verdict);
      ran.details.set(id, detail ?? {});
    });
  } catch (error) {
    if (!(error instanceof EdpoError)) throw error;
    ran.error = error;
  }
  return ran;
}
async function serve(t: Test, behaviour?: Behaviour): Promise<JudgeServer> {
  const server = await JudgeServer.start(behaviour);
  t.teardown(() => server.stop());
  return server;
}
const same = (t: Test, ran: Ran, list: EndpointQuestion[]): void => {
  t.equal(ran.error, undefined);
  t.same([...ran.verdicts].sort(), list.map((q) => [q.id, longer(q)]).sort());
};
/** Requests by content: how often each question was asked. */
const asked = (server: JudgeServer): number[] => server.seen.map((s) => Number(/request (\d+)/.exec(s.text)![1])).sort((a, b) => a - b);

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

t.test('an endpoint that refuses ends the run at once, with one sentence and a hint', async (t) => {
  const cases: Array<[Behaviour, RegExp, RegExp]> = [
    [status(401, { error: { message: `Incorrect API key provided: ${KEY}` } }), /refuses the key \(status 401\)/, /OPENAI_API_KEY/],
    [status(402), /status 402/, /credit/],
    [status(403, { error: { message: `no access with sk-live-abcdefgh` } }), /status 403\): no access with \[key\]/, /another/],
    [status(404, { error: { message: 'The model judge-1 does not exist' } }), /status 404\): The model judge-1 does not exist/, /ends in \/v1/],
    [status(307, '', { location: 'https://elsewhere.example/v1?token=secret' }), /redirects \(status 307\) to "https:\/\/elsewhere\.example\/v1"/, /trust/],
    [status(429, { error: { message: 'quota', code: 'insufficient_quota' } }), /quota is used up/, /credit/],
  ];
  for (const [behaviour, message, hint] of cases) {
    const server = await serve(t, behaviour);
    const ran = await ask(server, questions(40), { concurrency: 4 });
    t.ok(ran.error instanceof InputError && message.test(ran.error.message) && hint.test(ran.error.hint ?? ''), `${ran.error?.message} (${ran.error?.hint})`);
    t.ok(server.seen.length <= 4, `${server.seen.length} requests, none again`);
    t.same([ran.slept, ran.verdicts.size], [[], 0]);
    t.notMatch(`${ran.error!.message}${ran.error!.hint}${ran.notes.join()}`, new RegExp(`${KEY}|secret|abcdefgh`));
  }
});

t.test('refused in the middle: what was judged is kept, and the next run asks the rest', async (t) => {
  const list = questions(20);
  const cache = fresh();
  const server = await serve(t, (seen, response, n) => (n < 9 ? good : status(401))(seen, response, n));
  const ran = await ask(server, list, { cache, concurrency: 2 });
  t.match(ran.error?.message, /status 401.*; 9 verdicts of this run are kept/);
  t.equal(ran.verdicts.size, 9);
  const before = server.seen.length;
  server.behaviour = good;
  const again = await ask(server, list, { cache });
  same(t, again, list);
  t.same([server.seen.length - before, again.totals!.cached], [11, 9]);
});

t.test('Retry-After holds for every request, not only the one that was told', async (t) => {
  const told = new Promise<void>((resolve) => (sleeping = resolve));
  const server = await serve(t, async (seen, response, n) => {
    if (n === 0) return status(429, {}, { 'retry-after': '5' })(seen, response, n);
    if (n === 1) await told;
    return good(seen, response, n);
  });
  let during = 0;
  const clock: Clock = { now: () => 0, random: () => 0, sleep: async () => {
    sleeping();
    // Time for the other worker to take its answer and its next question.
    await new Promise((resolve) => setTimeout(resolve, 50));
    during = server.seen.length;
  } };
  const list = questions(6);
  same(t, await ask(server, list, { concurrency: 2, clock }), list);
  t.equal(during, 2);
});

t.test('a run that has ended does not try again what was waiting to', async (t) => {
  const server = await serve(t, (seen, response, n) => (seen.text.includes('request 0\n') ? status(500) : status(401))(seen, response, n));
  // Sleeps until the run ends.
  const clock: Clock = { now: () => 0, random: () => 0, sleep: (_, signal) => (signal.aborted ? Promise.reject(new Error()) : new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(new Error())))) };
  const ran = await ask(server, questions(9), { concurrency: 2, clock });
  t.match(ran.error!.message, /status 401/);
  t.same(asked(server), [0, 1]);
});

t.test('down: waits grow, then the run ends; later it goes on', async (t) => {
  const server = await JudgeServer.start();
  const { url } = server;
  await server.stop();
  const ran = await ask({ url }, questions(3), { concurrency: 1, retries: 7 });
  t.match(ran.error, { exitCode: 1, hint: /OPENAI_BASE_URL/ });
  t.match(ran.error!.message, /no answer \(ECONNREFUSED\), 8 tries; 0 verdicts/);
  // min(cap, base 2^n), half of it times random 0.5
  t.same(ran.slept, [750, 1500, 3000, 6000, 12000, 24000, 45000]);
  t.match(ran.notes[1], /trying again in 1\.5 s \(2 of 7\)/);
});

t.test('429: Retry-After as seconds, as a date and in milliseconds; one too long, and one without end', async (t) => {
  const headers: Array<Record<string, string>> = [{ 'retry-after': '7' }, { 'retry-after': 'Thu, 01 Jan 2026 00:00:20 GMT' }, { 'retry-after-ms': '1234', 'retry-after': '9' }, { 'retry-after': 'soon' }];
  const server = await serve(t, first(...headers.map((h) => status(429, { error: { message: 'slow down' } }, h))));
  const list = questions(1);
  const ran = await ask(server, list);
  same(t, ran, list);
  // Beside the endpoint's word a quarter of min(cap, base 2^n) as chance; without one, three quarters of it.
  t.same(ran.slept, [7000 + 250, 20000 + 500, 2000 + 1000, 6000]);
  const long = await ask(await serve(t, status(429, {}, { 'retry-after': '86400' })), list);
  t.match(long.error!.message, /asks to wait 86400 s/);
  t.same(long.slept, []);
  const endless = await ask(await serve(t, status(429)), questions(30), { retries: 3, concurrency: 2 });
  t.match(endless.error!.message, /too many requests \(status 429\): status 429, 4 tries/);
  t.equal(endless.verdicts.size, 0, 'nothing is called invalid');
});

const half: Behaviour = (seen, response) => {
  const text = completion(opinion(seen));
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': text.length });
  response.write(text.slice(0, text.length / 2), () => response.destroy());
};
const events = (seen: Parameters<Behaviour>[0]): string[] => [
  ...opinion(seen).content.split(/(?<= )/).map((piece) => JSON.stringify({ model: 'judge-1', choices: [{ index: 0, delta: { content: piece }, finish_reason: null }] })),
  JSON.stringify({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] }), JSON.stringify({ choices: [], usage: { prompt_tokens: 100, completion_tokens: 7 } }), '[DONE]',
].map((data) => `data: ${data}\n\n`);
const stream = (part: number): Behaviour => (seen, response) => {
  const text = events(seen);
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
  response.write(': keep-alive\n\n');
  response.end(text.slice(0, Math.ceil(text.length * part)).join(''));
};

t.test('500, malformed JSON, half a body, half a stream, no choices, an error with status 200, a broken connection: asked again', async (t) => {
  const bad: Behaviour[] = [
    status(500), status(503, '<html>busy</html>'), status(200, '{"choices": [{"mess'), half, stream(0.5), status(200, { object: 'chat.completion' }), status(200, { error: { message: 'upstream', code: 502 } }),
    (_, response) => void response.destroy(), status(200, '<html>login</html>'),
  ];
  const server = await serve(t, first(...bad));
  const list = questions(1);
  const ran = await ask(server, list, { retries: bad.length });
  same(t, ran, list);
  t.same([server.seen.length, ran.slept.length], [bad.length + 1, bad.length]);
  for (const [i, why] of [/status 500/, /status 503: <html>/, /no JSON/, /broke off/, /stream broke off/, /no choices/, /status 502: upstream/, /no answer/, /no JSON/].entries()) t.match(ran.notes[i], why);
});

t.test('whole streams are read, asked for or not', async (t) => {
  const list = questions(5);
  const server = await serve(t, stream(1));
  const ran = await ask(server, list, { stream: true });
  same(t, ran, list);
  t.match(server.seen[0]!.body, { stream: true, stream_options: { include_usage: true } });
  t.equal(ran.totals!.prompt_tokens, 500);
  same(t, await ask(server, list), list);
});

t.test('a question that never works is invalid once others do; a row of them ends the run', async (t) => {
  const list = questions(30);
  const bad = (behaviour: Behaviour): Behaviour => (seen, response, n) => (/request (3|17)\n/.test(seen.text) ? behaviour : good)(seen, response, n);
  for (const [behaviour, why, tries] of [[status(500), /status 500/, 3], [half, /broke off/, 3], [status(200, '{'), /no JSON/, 3], [status(400, { error: { message: 'too long' } }), /does not take the request \(status 400\): too long/, 1]] as const) {
    const server = await serve(t, bad(behaviour));
    const cache = fresh();
    const ran = await ask(server, list, { retries: 2, cache });
    t.equal(ran.error, undefined);
    t.same(list.filter((q) => ran.verdicts.get(q.id) === 'invalid').map((q) => q.id), ['3', '17']);
    t.match(ran.details.get('17')!['reason'], why);
    t.same([ran.verdicts.size, ran.totals!.invalid, server.seen.length], [30, 2, 28 + 2 * tries]);
    // Nothing was paid for a failure: it is not remembered.
    server.behaviour = good;
    same(t, await ask(server, list, { cache }), list);
    t.equal(server.seen.length, 28 + 2 * tries + 2);
  }
  const server = await serve(t, (seen, response, n) => (n < 10 ? good : status(500))(seen, response, n));
  const ran = await ask(server, questions(100), { retries: 1, giveUp: 5, concurrency: 1 });
  t.match(ran.error!.message, /status 500.*2 tries; 10 verdicts/);
  t.same([ran.verdicts.size, server.seen.length], [10, 10 + 5 * 2], 'those held are not called invalid');
  const none = await ask(await serve(t, status(400, { error: { message: 'unsupported parameter: max_tokens' } })), questions(3));
  t.ok(none.error instanceof InputError && /unsupported parameter/.test(none.error.message) && none.verdicts.size === 0, 'nothing was ever answered');
});

t.test('slow: a try ends with its time and is repeated', async (t) => {
  const server = await serve(t, first(() => undefined, (_, response) => void response.writeHead(200, { 'content-type': 'application/json' }).write('{"choices"')));
  const list = questions(1);
  const ran = await ask(server, list, { timeoutMs: 1000 });
  same(t, ran, list);
  t.match(ran.notes[0], /no answer \(nothing within 1 s\)/);
  t.match(ran.notes[1], /broke off \(nothing within 1 s\)/);
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

t.test('never more at once than allowed, and as many', async (t) => {
  for (const concurrency of [1, 3, 8]) {
    const waiting: Array<() => void> = [];
    const list = questions(29);
    // Answers only when nobody else can come: the bound is reached or all are asked.
    const server = await serve(t, (seen, response, n) => {
      waiting.push(() => void good(seen, response, n));
      if (waiting.length === concurrency || n === list.length - 1) setImmediate(() => waiting.splice(0).forEach((f) => f()));
    });
    same(t, await ask(server, list, { concurrency }), list);
    t.equal(server.mostAtOnce, concurrency);
  }
  // Two requests a question: requests are bounded, not questions.
  const waiting: Array<() => void> = [];
  const server = await serve(t, (seen, response, n) => {
    if (n > 2) return good(seen, response, n);
    waiting.push(() => void good(seen, response, n));
    // Time for a fourth to show itself.
    if (n === 2) setTimeout(() => waiting.forEach((f) => f()), 50);
  });
  same(t, await ask(server, questions(20), { concurrency: 3, protocol: 'mt-bench-single' }), questions(20));
  t.equal(server.mostAtOnce, 3);
});

t.test('questions may come late: each is asked as it comes', async (t) => {
  const queue = new Queue<EndpointQuestion>();
  const list = questions(6);
  const server = await serve(t, (seen, response, n) => {
    good(seen, response, n);
    if (n + 1 < list.length) queue.push(list[n + 1]!);
    else queue.end();
  });
  queue.push(list[0]!);
  same(t, await ask(server, queue), list);
  const open = new Queue<EndpointQuestion>();
  open.push(list[0]!);
  t.match((await ask(await serve(t, status(404)), open)).error!.message, /404/, 'a run that ends does not wait for the rest');
});

t.test('an interruption sends nothing new and keeps what is under way', async (t) => {
  const stop = new AbortController();
  const list = questions(20);
  const cache = fresh();
  const server = await serve(t, (seen, response, n) => {
    if (n === 5) stop.abort();
    void good(seen, response, n);
  });
  const ran = await ask(server, list, { cache, concurrency: 1, signal: stop.signal });
  t.match(ran.error, { exitCode: 130, message: /interrupted; 6 verdicts/ });
  t.same([ran.verdicts.size, server.seen.length], [6, 6]);
  const again = await ask(server, list, { cache });
  same(t, again, list);
  t.equal(server.seen.length, 20);
});

const child = new URL('../helpers/judge_child.js', import.meta.url).pathname;
const start = (url: string, cache: string, n: number) => spawn(process.execPath, [child, cache, `${n}`], { env: { ...process.env, OPENAI_BASE_URL: url, OPENAI_API_KEY: KEY }, stdio: ['ignore', 'pipe', 'pipe'] });

t.test('killed and resumed: only the rest is asked; half a line is dropped; the key is nowhere', async (t) => {
  const server = await serve(t, (seen, response, n) => (n < 7 ? good(seen, response, n) : undefined));
  const folder = mkdtempSync(join(dir, 'kill-'));
  const cache = join(folder, 'replies.ndjson');
  const n = 25;
  const killed = start(server.url, cache, n);
  let output = '';
  killed.stderr.on('data', (d: Buffer) => (output += d.toString()));
  let verdicts = 0;
  for await (const line of createInterface({ input: killed.stdout })) {
    output += line;
    // The eighth never comes: all that follow hang.
    if (++verdicts === 7) killed.kill('SIGKILL');
  }
  if (killed.exitCode === null && killed.signalCode === null) await once(killed, 'close');
  t.equal(killed.signalCode, 'SIGKILL');
  const lines = readFileSync(cache, 'utf8').trim().split('\n');
  t.equal(lines.length, 7);
  const done = asked(server).slice(0);
  t.ok(done.length <= 10, 'seven and at most three under way');
  appendFileSync(cache, lines[0]!.slice(0, 60));

  server.behaviour = good;
  const before = server.seen.length;
  const resumed = start(server.url, cache, n);
  resumed.stderr.on('data', (d: Buffer) => (output += d.toString()));
  const got: Array<[string, Verdict]> = [];
  for await (const line of createInterface({ input: resumed.stdout })) {
    output += line;
    const { id, verdict } = JSON.parse(line) as { id: string; verdict: Verdict };
    got.push([id, verdict]);
  }
  if (resumed.exitCode === null) await once(resumed, 'close');
  t.equal(resumed.exitCode, 0, output);
  t.same(got.sort(), questions(n).map((q) => [q.id, longer(q)]).sort());
  t.equal(server.seen.length - before, n - 7);
  const rest = server.seen.slice(before).map((s) => JSON.stringify(s.body));
  t.equal(new Set(rest).size, n - 7, 'each once');
  const answeredBefore = new Set(server.seen.slice(0, 7).map((s) => JSON.stringify(s.body)));
  t.notOk(rest.some((body) => answeredBefore.has(body)), 'none that had its answer');
  t.match(output, /half a last line is dropped/);
  t.match(output, /7 replies are there already/);
  t.ok(server.seen.every((s) => s.headers.authorization === `Bearer ${KEY}`));
  for (const file of readdirSync(folder)) t.notMatch(readFileSync(join(folder, file), 'utf8'), KEY);
  t.notMatch(output, KEY);
  t.equal(readFileSync(cache, 'utf8').trim().split('\n').length, n);
});

t.test('a key that the endpoint repeats stays out of verdicts, notes, errors and the cache', async (t) => {
  const cache = fresh();
  const server = await serve(t, first(status(500, { error: { message: `bad ${KEY}` } }), (_, response) => void response.writeHead(200).end(`${KEY} is no JSON`), (_, response) => void response.writeHead(200).end(completion({ content: `${KEY} [[A>B]]` }))));
  const ran = await ask(server, questions(1), { cache });
  t.equal(ran.verdicts.get('0'), 'a');
  t.match(ran.notes.join(), /bad \[key\]/);
  t.notMatch(JSON.stringify([[...ran.details], ran.notes]) + readFileSync(cache, 'utf8'), KEY);
  t.notMatch(JSON.stringify(openaiJudge({ model: 'm', env: { OPENAI_BASE_URL: server.url, OPENAI_API_KEY: KEY } }).identity), KEY);
});

t.test('a broken line within the cache costs that one reply', async (t) => {
  const list = questions(6);
  const cache = fresh();
  const server = await serve(t);
  same(t, await ask(server, list, { cache }), list);
  const lines = readFileSync(cache, 'utf8').split('\n');
  lines[2] = lines[2]!.slice(0, 40);
  writeFileSync(cache, Buffer.concat([Buffer.from(lines.join('\n')), Buffer.from([0xff, 0xfe])]));
  const again = await ask(server, list, { cache });
  same(t, again, list);
  t.equal(server.seen.length, 7);
  t.match(again.notes.join('\n'), /half a last line is dropped[\s\S]*1 lines cannot be read/);
  const third = await ask(server, list, { cache });
  t.same([third.totals!.sent, third.totals!.cached], [0, 6]);
});

t.test('the cache knows the whole request', async (t) => {
  const cache = fresh();
  const server = await serve(t);
  const list = questions(4);
  for (const o of [{}, { model: 'judge-2' }, { protocol: 'mt-bench' }, { parameters: { temperature: 0.5 } }, { parameters: { seed: 1 } }, { baseURL: `${server.url}/?version=2` }] as Array<Partial<OpenAIOptions>>) {
    const before = server.seen.length;
    await ask(server, list, { cache, ...o });
    t.equal(server.seen.length - before, 4, JSON.stringify(o));
    t.equal((await ask(server, list, { cache, ...o })).totals!.sent, 0);
  }
  const other = await ask(server, list, { cache, parameters: { max_tokens: null, max_completion_tokens: 99 } });
  t.match([other.totals!.sent, server.seen.at(-1)!.body], [4, { max_completion_tokens: 99, max_tokens: undefined }]);
});

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

t.test('what takes the verdicts may fail: the run ends with that, replies are kept', async (t) => {
  const server = await serve(t);
  const cache = fresh();
  const failure = new EdpoError('cannot write annotations.ndjson: the disk is full');
  await t.rejects(askOpenAI({ model: 'judge-1', protocol: 'arena-hard', cache, concurrency: 1, env: { OPENAI_BASE_URL: server.url } }, questions(9), (id) => {
    if (id === '2') throw failure;
  }), { message: /disk is full; 2 verdicts/ });
  t.equal(readFileSync(cache, 'utf8').trim().split('\n').length, server.seen.length);
});
