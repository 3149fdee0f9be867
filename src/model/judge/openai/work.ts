import { EdpoError, InputError } from '../../../errors.js';
import { ReplyCache, requestKey } from './cache.js';
import { Client, Halted, QuestionFailed } from './client.js';
import { needKey } from './options.js';
import type { Plan } from './plan.js';
import type { Reply } from './reply.js';

export type Items<T> = AsyncIterable<T> | Iterable<T>;

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

/** A question as requests, and what becomes of their replies. */
export interface Job {
  id: string;
  bodies: object[];
  /** Takes the replies, in order of the bodies; false: no verdict in them. */
  done(replies: Reply[]): boolean;
  /** Takes a question without a usable reply as invalid. */
  failed(reason: string): void;
}

/** Works through jobs with bounded concurrency; the rules for failures are those of `askOpenAI`. */
export async function work<T>(plan: Plan, items: Items<T>, job: (item: T) => Job): Promise<AskedTotals> {
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
