import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { EdpoError } from '../../src/errors.js';
import { askOpenAI } from '../../src/model/judge/openai/judge.js';
import type { Clock, OpenAIOptions } from '../../src/model/judge/openai/options.js';
import type { EndpointQuestion } from '../../src/model/judge/openai/prompts.js';
import type { Queue } from '../../src/model/judge/queue.js';
import type { Verdict } from '../../src/model/judge/types.js';
import { JudgeServer, type Behaviour } from './judge_server.js';

/** A folder of the test file’s own, gone with it. */
export const dir = mkdtempSync(join(tmpdir(), 'edpo-openai-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
let files = 0;
/** A path in it that nobody had. */
export const fresh = (suffix = '.ndjson'): string => join(dir, `${files++}${suffix}`);
export const KEY = 'sk-test-0123456789abcdef';

/** Comparisons of answers whose lengths differ, some not. */
export const questions = (n: number): EndpointQuestion[] => Array.from({ length: n }, (_, i) => ({ id: `${i}`, prompt: `request ${i}`, a: 'a'.repeat(2 + (i % 5)), b: 'b'.repeat(1 + (i % 7)) }));
/** What the judge server says of them. */
export const longer = (q: EndpointQuestion): Verdict => (q.a.length > q.b.length ? 'a' : q.a.length < q.b.length ? 'b' : 'tie');

export interface Ran { verdicts: Map<string, Verdict>; details: Map<string, Record<string, unknown>>; slept: number[]; notes: string[]; error?: EdpoError; totals?: Awaited<ReturnType<typeof askOpenAI>> }
/** Asks with a clock that never waits, and gathers everything there is to see. */
export async function ask(server: { url: string }, list: EndpointQuestion[] | Queue<EndpointQuestion>, o: Partial<OpenAIOptions> = {}): Promise<Ran> {
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
/** A judge server for one test. */
export async function serve(t: Test, behaviour?: Behaviour): Promise<JudgeServer> {
  const server = await JudgeServer.start(behaviour);
  t.teardown(() => server.stop());
  return server;
}
/** All of them were judged, and as the server judges. */
export const same = (t: Test, ran: Ran, list: EndpointQuestion[]): void => {
  t.equal(ran.error, undefined);
  t.same([...ran.verdicts].sort(), list.map((q) => [q.id, longer(q)]).sort());
};
/** Requests by content: how often each question was asked. */
export const asked = (server: JudgeServer): number[] => server.seen.map((s) => Number(/request (\d+)/.exec(s.text)![1])).sort((a, b) => a - b);
