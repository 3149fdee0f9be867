import { createHash } from 'node:crypto';
import { EdpoError, InputError } from '../../../errors.js';
import type { Judge, OnVerdict } from '../types.js';
import { ReplyCache, requestKey } from './cache.js';
import { Client, Halted, QuestionFailed } from './client.js';
import { needKey, settings, type OpenAIOptions, type Settings } from './options.js';
import { turnsOf, type EndpointQuestion, type GradedAnswer, type Turn } from './prompts.js';
import { compareRatings, protocolOf, type Protocol } from './protocols.js';
import type { Reply } from './reply.js';
import { switchedOutputs } from './switched.js';
import { readTemplate } from './template.js';

type Items<T> = AsyncIterable<T> | Iterable<T>;

/** What a run of questions took. */
export interface AskedTotals {
  /** Requests sent, tries again included. */
  sent: number;
  /** Replies taken from the cache. */
  cached: number;
  invalid: number;
  /** As billed by the endpoint in this run; 0 where it does not say. */
  prompt_tokens: number;
  completion_tokens: number;
}

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

/** A judge's settings ready to make requests of. */
class Plan {
  readonly s: Settings;
  readonly protocol: Protocol;
  private readonly template: ReturnType<typeof readTemplate> | undefined;

  constructor(options: OpenAIOptions) {
    this.s = settings(options);
    this.protocol = protocolOf(this.s.protocol);
    this.template = this.s.template === undefined ? undefined : readTemplate(this.s.template, this.protocol.kind);
  }

  body(turns: Turn[]): Record<string, unknown> {
    const messages = (this.template?.prompt ?? this.protocol.prompt)(turns);
    const stream = this.s.stream ? { stream: true, stream_options: { include_usage: true } } : {};
    const merged = { model: this.s.model, messages, ...this.protocol.parameters, ...stream, ...this.s.parameters };
    return Object.fromEntries(Object.entries(merged).filter(([, v]) => v !== null && v !== undefined));
  }

  /** The question as shown, and whether the sides changed places. */
  shown(q: EndpointQuestion): { turns: Turn[]; switched: boolean } {
    const turns = turnsOf(q);
    const switched = this.s.order === 'hashed' && switchedOutputs(q.prompt, this.s.orderSeed);
    return { turns: switched ? turns.map((t) => ({ ...t, a: t.b, b: t.a })) : turns, switched };
  }

  /** Bodies of the requests a comparison takes: one for both sides, or one for each where answers are graded alone. */
  bodies(q: EndpointQuestion): object[] {
    if (this.protocol.equalIsTie && q.a === q.b) return [];
    const { turns } = this.shown(q);
    return this.protocol.kind === 'pair' ? [this.body(turns)] : (['a', 'b'] as const).map((side) => this.body(turns.map((t) => ({ ...t, a: t[side], b: t[side] }))));
  }

  /** Everything a verdict depends on besides the question; never the key. */
  identity(): Record<string, unknown> {
    const { s } = this;
    const probe = this.template?.hash ?? createHash('sha256').update(JSON.stringify(this.protocol.prompt([{ prompt: '{question}', a: '{answer_a}', b: '{answer_b}' }]))).digest('hex');
    return { judge: `openai:${s.model}`, protocol: s.protocol, prompt: probe, order: s.order, ...(s.order === 'hashed' ? { order_seed: s.orderSeed } : {}), parameters: { ...this.protocol.parameters, ...s.parameters }, endpoint: s.place };
  }
}

interface Job {
  id: string;
  bodies: object[];
  /** Takes the replies, in order of the bodies; false: no verdict in them. */
  done(replies: Reply[]): boolean;
  /** Takes a question without a usable reply as invalid. */
  failed(reason: string): void;
}

/** Works through jobs with bounded concurrency; the rules for failures are those of `askOpenAI`. */
async function work<T>(plan: Plan, items: Items<T>, job: (item: T) => Job): Promise<AskedTotals> {
  const { s, protocol } = plan;
  needKey(s);
  const client = new Client(s);
  const cache = ReplyCache.open(s.cache, s.note);
  const totals: AskedTotals = { sent: 0, cached: 0, invalid: 0, prompt_tokens: 0, completion_tokens: 0 };
  const under = new Map<string, Promise<Reply>>();
  let stop: { error: unknown } | undefined;
  let answered = 0;
  let kept = 0;
  let gaveLogprobs = false;
  let held: Array<{ job: Job; error: QuestionFailed }> = [];
  const halt = (error: unknown): void => {
    stop ??= { error };
    client.halt.abort();
  };
  const interrupted = (): void => halt(new EdpoError('interrupted', { exitCode: 130, hint: 'the same command goes on with the rest' }));
  if (s.signal?.aborted) interrupted();
  s.signal?.addEventListener('abort', interrupted, { once: true });
  const stopped = new Promise<void>((resolve) => {
    if (client.halt.signal.aborted) resolve();
    client.halt.signal.addEventListener('abort', () => resolve(), { once: true });
  });

  const request = (body: object): Promise<Reply> => {
    const key = requestKey(s.url, body);
    const old = cache.get(key);
    if (old) {
      totals.cached++;
      return Promise.resolve(old);
    }
    const running = under.get(key);
    if (running) return running;
    const asking = client.ask(body).then((reply) => {
      totals.prompt_tokens += reply.prompt_tokens ?? 0;
      totals.completion_tokens += reply.completion_tokens ?? 0;
      if (protocol.needs === 'logprobs' && !reply.top_logprobs) {
        // Not cached: another server behind the same address may give them.
        if (!gaveLogprobs) throw new InputError(`${s.place} gives no log-probabilities for openai:${s.model}, which the protocol ${s.protocol} reads`, 'another protocol: arena-hard or mt-bench');
        return reply;
      }
      gaveLogprobs ||= protocol.needs === 'logprobs';
      cache.set(key, reply);
      answered++;
      release();
      return reply;
    }).finally(() => under.delete(key));
    under.set(key, asking);
    return asking;
  };
  const release = (): void => {
    const now = held;
    held = [];
    for (const { job: j, error } of now) {
      totals.invalid++;
      j.failed(error.message);
    }
  };
  const one = async (j: Job): Promise<void> => {
    try {
      const results = await Promise.allSettled(j.bodies.map(request));
      // The endpoint's failure before a single question's: it is the one to tell.
      const errors = results.flatMap((r) => (r.status === 'rejected' ? [r.reason as unknown] : []));
      const worst = errors.find((e) => !(e instanceof QuestionFailed) && !(e instanceof Halted)) ?? errors[0];
      if (worst !== undefined) throw worst;
      if (!j.done(results.map((r) => (r as PromiseFulfilledResult<Reply>).value))) totals.invalid++;
      kept++;
    } catch (error) {
      if (error instanceof Halted) return;
      if (!(error instanceof QuestionFailed)) return halt(error);
      held.push({ job: j, error });
      if (held.length >= s.giveUp) halt(asEnd(error));
    }
  };
  const asEnd = (error: QuestionFailed): EdpoError => (error.input ? new InputError(error.message, 'check the model and the request’s parameters') : new EdpoError(error.message, { hint: 'the same command goes on with the rest' }));

  const active = new Set<Promise<void>>();
  const iterator = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  try {
    while (!client.halt.signal.aborted) {
      const next = await Promise.race([Promise.resolve(iterator.next()), stopped]);
      if (next === undefined || next.done) break;
      const running = one(job(next.value));
      active.add(running);
      void running.finally(() => active.delete(running));
      if (active.size >= s.concurrency) await Promise.race(active);
    }
  } catch (error) {
    halt(error);
  }
  try {
    // Replies under way are paid for: they are kept, whatever ended the run.
    await Promise.all(active);
    if (!client.halt.signal.aborted && held.length > 0) {
      if (answered + totals.cached > 0) release();
      else halt(asEnd(held[0]!.error));
    }
  } finally {
    s.signal?.removeEventListener('abort', interrupted);
    cache.close();
    totals.sent = client.sent;
  }
  if (stop) throw withKept(stop.error, kept);
  return totals;
}

/** Adds how many verdicts stand. */
function withKept(error: unknown, kept: number): unknown {
  if (!(error instanceof EdpoError)) return error;
  const message = `${error.message}; ${kept} verdicts of this run are kept`;
  return error instanceof InputError ? new InputError(message, error.hint) : new EdpoError(message, { exitCode: error.exitCode, ...(error.hint === undefined ? {} : { hint: error.hint }) });
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
          const verdict = a === undefined || b === undefined ? 'invalid' : compareRatings(a, b);
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
