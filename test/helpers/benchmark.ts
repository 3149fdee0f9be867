import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { good, JudgeServer, type Behaviour } from './judge_server.js';

/** A folder of the test file’s own, gone with it. */
export const dir = mkdtempSync(join(tmpdir(), 'edpo-benchmark-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
/** Writes a file into it: lines of JSON by its name. */
export const put = (name: string, body: unknown): string => {
  const path = join(dir, name);
  writeFileSync(path, Array.isArray(body) && name.endsWith('.jsonl') ? body.map((r) => `${JSON.stringify(r)}\n`).join('') : JSON.stringify(body));
  return path;
};
/** What a run wrote there. */
export const json = <T = object>(...path: string[]): T => JSON.parse(readFileSync(join(dir, ...path), 'utf8')) as T;
export const lines = (...path: string[]): object[] => readFileSync(join(dir, ...path), 'utf8').trim().split('\n').map((l) => JSON.parse(l) as object);
/** A judge for one test, and the environment that names it. */
export const serve = async (t: Test, behaviour: Behaviour = good): Promise<{ server: JudgeServer; env: Record<string, string> }> => {
  const server = await JudgeServer.start(behaviour);
  t.teardown(() => server.stop());
  return { server, env: { OPENAI_BASE_URL: server.url, OPENAI_API_KEY: 'sk-secret-of-this-test' } };
};
export const words = (n: number): string => 'x'.repeat(n);

// Six questions; the model's answer is longer than the baseline's in the first four, equal in the fifth.
export const LENGTHS: Array<[number, number]> = [[9, 2], [8, 5], [7, 4], [5, 4], [6, 6], [2, 9]];
/** Their answers in AlpacaEval’s form. */
export const alpaca = (side: 0 | 1, generator: string): unknown => LENGTHS.map((l, i) => ({ instruction: `do ${'abcdef'[i]}`, output: words(l[side]), generator, dataset: 'koala' }));

/** The same for Arena-Hard. */
export const questions = put('question.jsonl', LENGTHS.map((_, i) => ({ question_id: `q${i}`, category: i < 3 ? 'hard_prompt' : 'creative_writing', turns: [{ content: `solve ${'abcdef'[i]}` }] })));
export const arena = (side: 0 | 1, model: string): unknown[] => LENGTHS.map((l, i) => ({ question_id: `q${i}`, answer_id: `${i}`, model_id: model, choices: [{ index: 0, turns: [{ content: words(l[side]), token_len: l[side] }] }], tstamp: 0 }));

/** Two questions of two turns, the second with references. */
export const turns = put('mt_question.jsonl', [81, 101].map((id) => ({ question_id: id, category: id < 91 ? 'writing' : 'reasoning', turns: id < 91 ? ['ask a', 'more a'] : ['ask b', 'more b'], ...(id > 100 ? { reference: ['ref one', 'ref two'] } : {}) })));
export const mt = (model: string, lengths: number[]): unknown[] => [81, 101].map((question_id, i) => ({ question_id, answer_id: 'a', model_id: model, choices: [{ index: 0, turns: [words(lengths[2 * i]!), words(lengths[2 * i + 1]!)] }], tstamp: 0 }));
