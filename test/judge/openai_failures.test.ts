import t from 'tap';
import { InputError } from '../../src/errors.js';
import type { Clock } from '../../src/model/judge/openai/options.js';
import { ask, asked, fresh, KEY, questions, same, serve } from '../helpers/ask_judge.js';
import { completion, first, good, JudgeServer, opinion, status, type Behaviour } from '../helpers/judge_server.js';

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

t.test('Retry-After holds for every request, not only the one that was told', async (t) => {
  let sleeping = (): void => undefined;
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
