import { InputError } from '../../../errors.js';
import type { Judge, OnVerdict } from '../types.js';
import { ReplyCache, requestKey } from './cache.js';
import { needKey, type OpenAIOptions } from './options.js';
import { Plan } from './plan.js';
import { turnsOf, type EndpointQuestion, type GradedAnswer, type Turn } from './prompts.js';
import { compareRatings } from '../mt_bench.js';
import { work, type AskedTotals, type Items } from './work.js';

export interface Estimate {
  questions: number;
  /** Requests that will be sent, each asked once however often it comes. */
  calls: number;
  /** Requests whose replies the cache holds. */
  cached: number;
  /** About 4 UTF-8 bytes a token, 4 more for each message: no judge's tokenizer is known here. */
  prompt_tokens: number;
  /** Calls times max_tokens: never more. Null where the request sets no limit. */
  completion_tokens_at_most: number | null;
}

/**
 * Compares answers by an OpenAI-compatible endpoint. Verdicts come in any order; `detail` holds the protocol's own words: `preference` (1: a,
 * 2: b) and `top_logprobs`, or `label` and `judgment`, or `rating_a` and `rating_b`; of an invalid one `reason`; `switched` in hashed order.
 *
 * Failures. 401, 402, 403, 404, a redirect and a spent quota end the run at once. 429, 408, 409, 5xx, no connection, a try beyond its time, a
 * reply that breaks off or is no chat completion are tried again, `retries` times, after min(cap, base 2^n), half of it chance, or
 * Retry-After and the chance.
 * Then: an endpoint not reached and 429 end the run; anything else (and any other 4xx at once) is held against the question. Held questions are invalid
 * once the endpoint answers another one; `giveUp` of them in a row end the run, and so do held ones where nothing was ever answered.
 * A run that ends keeps every reply and verdict up to there, and those under way.
 * @throws InputError, EdpoError (the message says how many verdicts are kept)
 */
export async function askOpenAI(options: OpenAIOptions, questions: Items<EndpointQuestion>, each: OnVerdict): Promise<AskedTotals> {
  const plan = new Plan(options);
  const { protocol } = plan;
  return work(plan, questions, (q) => {
    const { switched } = plan.shown(q);
    const place = plan.s.order === 'hashed' ? { switched } : {};
    return {
      id: q.id,
      bodies: plan.bodies(q),
      failed: (reason) => each(q.id, 'invalid', { reason, ...place }),
      done(replies) {
        if (replies.length === 0) {
          each(q.id, 'tie', { preference: 1.5, equal: true, ...place });
          return true;
        }
        const readings = replies.map((r) => protocol.read(r));
        if (protocol.kind === 'single') {
          const [left, right] = switched ? [readings[1]!, readings[0]!] : [readings[0]!, readings[1]!];
          const [a, b] = [left.rating, right.rating];
          const share = compareRatings(a, b);
          const verdict = share === undefined ? 'invalid' : share === 0.5 ? 'tie' : share === 1 ? 'a' : 'b';
          each(q.id, verdict, { rating_a: a ?? null, rating_b: b ?? null, detail_a: left.detail, detail_b: right.detail, ...place });
          return verdict !== 'invalid';
        }
        const { verdict, detail } = readings[0]!;
        const p = detail['preference'];
        const turned = switched && typeof p === 'number' ? { preference: 3 - p } : {};
        each(q.id, verdict === undefined ? 'invalid' : switched && verdict !== 'tie' ? (verdict === 'a' ? 'b' : 'a') : verdict, { ...detail, ...turned, ...place });
        return verdict !== undefined;
      },
    };
  });
}

/** Grades answers one at a time (MT-Bench single). `rating` is from 1 to 10, undefined where the reply holds none. Failures as in `askOpenAI`. */
export async function rateOpenAI(options: OpenAIOptions, answers: Items<GradedAnswer>, each: (id: string, rating: number | undefined, detail: Record<string, unknown>) => void): Promise<AskedTotals> {
  const plan = new Plan({ protocol: 'mt-bench-single', ...options });
  if (plan.protocol.kind !== 'single') throw new InputError(`the protocol ${plan.s.protocol} compares two answers; it grades none alone`, 'mt-bench-single');
  return work(plan, answers, (g) => ({
    id: g.id,
    bodies: [plan.body(gradedTurns(g))],
    failed: (reason) => each(g.id, undefined, { reason }),
    done([reply]) {
      const { rating, detail } = plan.protocol.read(reply!);
      each(g.id, rating, detail);
      return rating !== undefined;
    },
  }));
}

const gradedTurns = (g: GradedAnswer): Turn[] => turnsOf({ id: g.id, prompt: g.prompt, a: g.answer, b: g.answer, ...(g.reference === undefined ? {} : { reference: g.reference }), earlier: (g.earlier ?? []).map(({ answer, ...t }) => ({ ...t, a: answer, b: answer })) });

/** What `askOpenAI` (or, given `GradedAnswer`s, `rateOpenAI`) with the same arguments would send. Nothing is sent, no key is needed, no file is written. */
export async function estimate(options: OpenAIOptions, questions: Items<EndpointQuestion | GradedAnswer>): Promise<Estimate> {
  const plan = new Plan(options);
  const cache = ReplyCache.peek(plan.s.cache);
  const seen = new Set<string>();
  const e: Estimate = { questions: 0, calls: 0, cached: 0, prompt_tokens: 0, completion_tokens_at_most: 0 };
  for await (const q of questions) {
    e.questions++;
    for (const body of 'answer' in q ? [plan.body(gradedTurns(q))] : plan.bodies(q)) {
      const key = requestKey(plan.s.url, body);
      if (seen.has(key)) continue;
      seen.add(key);
      if (cache.get(key)) {
        e.cached++;
        continue;
      }
      e.calls++;
      const { messages, max_tokens, max_completion_tokens } = body as { messages: Array<{ content: string }>; max_tokens?: number; max_completion_tokens?: number };
      e.prompt_tokens += messages.reduce((n, m) => n + Math.ceil(Buffer.byteLength(m.content) / 4) + 4, 0);
      const most = max_completion_tokens ?? max_tokens;
      e.completion_tokens_at_most = most === undefined || e.completion_tokens_at_most === null ? null : e.completion_tokens_at_most + most;
    }
  }
  return e;
}

/** The endpoint as a judge among the others. What can be checked without sending is checked here. @throws InputError */
export function openaiJudge(options: OpenAIOptions): Judge {
  const plan = new Plan(options);
  needKey(plan.s);
  return { identity: plan.identity(), ask: async (questions, each) => void (await askOpenAI(options, questions, each)) };
}
