import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t from 'tap';
import { EdpoError } from '../../src/errors.js';
import { askOpenAI, openaiJudge } from '../../src/model/judge/openai/judge.js';
import type { OpenAIOptions } from '../../src/model/judge/openai/options.js';
import type { EndpointQuestion } from '../../src/model/judge/openai/prompts.js';
import { Queue } from '../../src/model/judge/queue.js';
import type { Verdict } from '../../src/model/judge/types.js';
import { ask, asked, dir, fresh, KEY, longer, questions, same, serve } from '../helpers/ask_judge.js';
import { completion, first, good, status } from '../helpers/judge_server.js';

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

t.test('what takes the verdicts may fail: the run ends with that, replies are kept', async (t) => {
  const server = await serve(t);
  const cache = fresh();
  const failure = new EdpoError('cannot write annotations.ndjson: the disk is full');
  await t.rejects(askOpenAI({ model: 'judge-1', protocol: 'arena-hard', cache, concurrency: 1, env: { OPENAI_BASE_URL: server.url } }, questions(9), (id) => {
    if (id === '2') throw failure;
  }), { message: /disk is full; 2 verdicts/ });
  t.equal(readFileSync(cache, 'utf8').trim().split('\n').length, server.seen.length);
});
