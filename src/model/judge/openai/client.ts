import { EdpoError, InputError } from '../../../errors.js';
import { withoutKey, type Settings } from './options.js';
import { BrokenReply, ErrorReply, errorOf, readReply, readStream, type Reply } from './reply.js';

/** One question’s own failure: asking the rest may still work. */
export class QuestionFailed extends Error {
  constructor(message: string, readonly input: boolean) {
    super(message);
  }
}
/** The run has ended for another reason; this question was not answered. */
export class Halted extends Error {}

type Try = { reply: Reply } | { again: string; after?: number | undefined; down: boolean } | { failed: string };

/** Milliseconds of a Retry-After header: seconds or a date (RFC 9110, 10.2.3); OpenAI's retry-after-ms wins. Undefined where it says nothing. */
export function retryAfter(headers: Headers, now: number): number | undefined {
  const ms = headers.get('retry-after-ms');
  if (ms !== null && /^\d+(\.\d+)?$/.test(ms.trim())) return Math.ceil(Number(ms));
  const text = headers.get('retry-after')?.trim();
  if (text === undefined || text === '') return undefined;
  if (/^\d+(\.\d+)?$/.test(text)) return Math.ceil(1000 * Number(text));
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

/** Quota used up: waiting does not help. */
const SPENT = new Set(['insufficient_quota', 'billing_hard_limit_reached', 'billing_not_active']);
/** Nobody is there: not a matter of this request. */
const UNREACHED = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'UND_ERR_CONNECT_TIMEOUT']);
const HINTS: Record<number, string> = {
  401: 'export OPENAI_API_KEY=… with a key of this endpoint',
  402: 'the account has no credit left; the same command goes on afterwards',
  403: 'the key may not use this model: try another, --judge openai:MODEL',
  404: 'check the model’s name and OPENAI_BASE_URL (it usually ends in /v1)',
};

/** Sends chat completions: bounded, retried, and stopped for good where asking again cannot help. */
export class Client {
  /** Fires when nothing more may be sent. */
  readonly halt = new AbortController();
  private free: number;
  private readonly waiting: Array<() => void> = [];
  private notBefore: Promise<unknown> = Promise.resolve();
  sent = 0;

  constructor(private readonly s: Settings) {
    this.free = s.concurrency;
  }

  /**
   * The reply to one request body.
   * @throws QuestionFailed a 4xx about this request, or a 5xx or broken replies up to the last retry
   * @throws EdpoError the endpoint cannot be used at all (InputError where the user can mend it), is not reached or keeps refusing
   * @throws Halted
   */
  async ask(body: object): Promise<Reply> {
    if (this.free > 0) this.free--;
    else await new Promise<void>((resolve) => this.waiting.push(resolve));
    try {
      return await this.tries(JSON.stringify(body));
    } finally {
      const next = this.waiting.shift();
      if (next) next();
      else this.free++;
    }
  }

  private async tries(body: string): Promise<Reply> {
    const { s } = this;
    for (let attempt = 0; ; attempt++) {
      await this.notBefore;
      if (this.halt.signal.aborted) throw new Halted();
      const r = await this.once(body);
      if ('reply' in r) return r.reply;
      if ('failed' in r) throw new QuestionFailed(r.failed, true);
      if (r.after !== undefined && r.after > s.longestWaitMs) throw new EdpoError(`${s.place} asks to wait ${Math.ceil(r.after / 1000)} s (${r.again})`, { hint: 'the same command goes on with the rest later' });
      if (attempt === s.retries) {
        const message = `${s.place}: ${r.again}, ${attempt + 1} ${attempt === 0 ? 'try' : 'tries'}`;
        if (r.down) throw new EdpoError(message, { hint: 'see that the endpoint runs and OPENAI_BASE_URL names it; the same command goes on with the rest' });
        throw new QuestionFailed(message, false);
      }
      const wait = Math.min(s.backOff.capMs, s.backOff.baseMs * 2 ** attempt);
      const ms = Math.round(Math.max(r.after ?? 0, wait / 2) + (wait / 2) * s.clock.random());
      s.note(`${r.again}; trying again in ${(ms / 1000).toFixed(1)} s (${attempt + 1} of ${s.retries})`);
      const slept = s.clock.sleep(ms, this.halt.signal).catch(() => undefined);
      // The endpoint's own word on when to come back holds for everybody.
      if (r.after !== undefined) this.notBefore = Promise.all([this.notBefore, slept]);
      await slept;
    }
  }

  private async once(body: string): Promise<Try> {
    const { s } = this;
    this.sent++;
    let response: Response;
    let text: string;
    try {
      response = await fetch(s.url, {
        method: 'POST', body, redirect: 'manual', signal: AbortSignal.timeout(s.timeoutMs),
        headers: { 'content-type': 'application/json', accept: s.stream ? 'text/event-stream' : 'application/json', ...(s.apiKey === undefined ? {} : { authorization: `Bearer ${s.apiKey}` }) },
      });
    } catch (error) {
      const why = this.reason(error);
      return { again: `no answer (${why})`, down: UNREACHED.has(why) };
    }
    try {
      text = withoutKey(s, await response.text());
    } catch (error) {
      // A status without its text still says what it says.
      if (response.status === 200) return { again: `the reply broke off (${this.reason(error)})`, down: false };
      text = '';
    }
    if (response.status !== 200) return this.refused(response.status, text, response.headers);
    try {
      return { reply: response.headers.get('content-type')?.includes('text/event-stream') ? readStream(text) : readReply(text) };
    } catch (error) {
      if (error instanceof ErrorReply) return error.status !== undefined && error.status >= 400 ? this.refused(error.status, JSON.stringify({ error: { message: error.message, code: error.code } }), response.headers) : { again: `an error in place of a reply: ${brief(error.message)}`, down: false };
      if (error instanceof BrokenReply) return { again: error.message, down: false };
      throw error;
    }
  }

  /** @throws EdpoError for what no retry mends. */
  private refused(status: number, text: string, headers: Headers): Try {
    const { s } = this;
    let said: { message: string; code: string | undefined } = { message: text, code: undefined };
    try {
      said = errorOf(JSON.parse(text) as Record<string, unknown>);
    } catch {
      // Words of a gateway, as they are.
    }
    const words = said.message.trim() === '' ? '' : `: ${brief(said.message)}`;
    if (status >= 300 && status < 400) throw new InputError(`${s.place} redirects (status ${status}) to ${JSON.stringify(headers.get('location')?.split(/[?#]/)[0] ?? 'elsewhere')}; the key is not sent there`, 'OPENAI_BASE_URL with the address it redirects to, if you trust it');
    // What is said about a refused key may hold parts of it.
    if (status === 401) throw new InputError(`${s.place} refuses the key (status 401)${s.apiKey === undefined ? '; OPENAI_API_KEY is not set' : ''}`, HINTS[401]);
    if (status === 429 && SPENT.has(said.code ?? '')) throw new InputError(`${s.place}: the quota is used up (${said.code})`, HINTS[402]);
    if (status in HINTS) throw new InputError(`${s.place} refuses openai:${s.model} (status ${status})${words}`, HINTS[status]);
    if (status === 429) return { again: `too many requests (status 429)${words}`, after: retryAfter(headers, s.clock.now()), down: true };
    if (status >= 500 || status === 408 || status === 409) return { again: `status ${status}${words}`, after: retryAfter(headers, s.clock.now()), down: false };
    return { failed: `${s.place} does not take the request (status ${status})${words}` };
  }

  /** Why a fetch failed, in a word or two. */
  private reason(error: unknown): string {
    if (error instanceof DOMException && error.name === 'TimeoutError') return `nothing within ${this.s.timeoutMs / 1000} s`;
    const cause = (error as { cause?: { code?: string; message?: string; errors?: Array<{ code?: string }> } }).cause;
    return withoutKey(this.s, cause?.code ?? cause?.errors?.[0]?.code ?? cause?.message ?? (error as Error).message);
  }
}

/** The endpoint's words, short, without what looks like a key. */
const brief = (text: string): string => {
  const line = text.replace(/\s+/g, ' ').trim().replace(/\bsk-[\w*.-]{6,}/g, '[key]');
  return line.length > 300 ? `${line.slice(0, 300)}…` : line;
};
