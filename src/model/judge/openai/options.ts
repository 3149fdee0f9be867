import { setTimeout as wait } from 'node:timers/promises';
import { InputError } from '../../../errors.js';
import type { ProtocolName } from './protocols.js';

/** Where time and chance come from. */
export interface Clock {
  /** Resolves after `ms`; rejects when the signal fires. */
  sleep(ms: number, signal: AbortSignal): Promise<unknown>;
  /** Milliseconds since 1970, for a Retry-After that is a date. */
  now(): number;
  /** Uniform in [0, 1), for the jitter. */
  random(): number;
}

/** How to ask an endpoint. Everything but `model` has a default. */
export interface OpenAIOptions {
  model: string;
  /** Default alpaca-eval: one token a game, but the endpoint must return log-probabilities. */
  protocol?: ProtocolName;
  /** A file with the user's own prompt (`readTemplate`) in place of the built-in one. */
  template?: string;
  /** given: a is shown first, the caller asks both orders; hashed: AlpacaEval's one game a row, places by `switchedOutputs`. */
  order?: 'given' | 'hashed';
  orderSeed?: number;
  /** Default OPENAI_BASE_URL, else the public API. */
  baseURL?: string;
  /** Default OPENAI_API_KEY. Sent as a bearer token; in no log, error or file. */
  apiKey?: string;
  /** NDJSON file of whole replies; none: nothing is kept beyond the verdicts. One process at a time. */
  cache?: string;
  /** Most requests under way at once. */
  concurrency?: number;
  /** Further tries of a request after the first. */
  retries?: number;
  /** One try's limit in milliseconds, the body included. */
  timeoutMs?: number;
  /** The n-th wait is min(cap, base 2^n), of which the upper half is chance; milliseconds. */
  backOff?: { baseMs: number; capMs: number };
  /** A Retry-After beyond this many milliseconds ends the run instead. */
  longestWaitMs?: number;
  /** Questions that fail in a row, without a good reply between them, before the run ends. */
  giveUp?: number;
  /** Ask for the reply as a stream, for gateways that cut long silences. */
  stream?: boolean;
  /** Keys of the request that replace the protocol's; null leaves one out. */
  parameters?: Record<string, unknown>;
  note?: (text: string) => void;
  /** Ends the run early: nothing new is sent, what is under way is kept. */
  signal?: AbortSignal;
  clock?: Clock;
  env?: Record<string, string | undefined>;
}

export interface Settings extends Required<Omit<OpenAIOptions, 'template' | 'cache' | 'signal' | 'baseURL' | 'apiKey' | 'env'>> {
  template: string | undefined;
  cache: string | undefined;
  signal: AbortSignal | undefined;
  /** Of chat completions. */
  url: string;
  /** The address without its query, for people. */
  place: string;
  apiKey: string | undefined;
}

const PUBLIC = 'https://api.openai.com/v1';
const CLOCK: Clock = { sleep: (ms, signal) => wait(ms, undefined, { signal }), now: Date.now, random: Math.random };

/** Fills the defaults and checks what can be checked without sending anything. @throws InputError */
export function settings(o: OpenAIOptions): Settings {
  const env = o.env ?? process.env;
  const base = o.baseURL ?? (env['OPENAI_BASE_URL'] || PUBLIC);
  const hint = 'OPENAI_BASE_URL=http://localhost:8000/v1';
  let url: URL;
  try {
    url = new URL(base);
  } catch {
    throw new InputError(`OPENAI_BASE_URL: expected an http(s) address, got ${JSON.stringify(base.split(/[?@]/)[0])}`, hint);
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw new InputError(`OPENAI_BASE_URL: expected an http(s) address, got one of ${url.protocol}`, hint);
  if (url.username || url.password) throw new InputError(`OPENAI_BASE_URL holds a user name or password before ${url.host}; the key belongs in OPENAI_API_KEY`, hint);
  url.pathname = `${url.pathname.replace(/\/+$/, '').replace(/\/chat\/completions$/, '')}/chat/completions`;
  url.hash = '';
  const apiKey = (o.apiKey ?? env['OPENAI_API_KEY'])?.trim() || undefined;
  // What a header cannot carry would come back in fetch's own error, key and all.
  if (apiKey !== undefined && !/^[\x21\x23-\x5b\x5d-\x7e]+$/.test(apiKey)) throw new InputError('OPENAI_API_KEY holds characters that no key has (a space, a quote or a line break inside)', 'export OPENAI_API_KEY=…');
  if (o.model.trim() === '') throw new InputError('judge: a model is missing after "openai:"', '--judge openai:gpt-4o-mini');
  const whole = (name: string, value: number, least: number): number => {
    if (Number.isInteger(value) && value >= least) return value;
    throw new InputError(`${name}: expected a whole number >= ${least}, got ${value}`);
  };
  return {
    model: o.model, protocol: o.protocol ?? 'alpaca-eval', template: o.template, order: o.order ?? 'given', orderSeed: o.orderSeed ?? 0, cache: o.cache,
    concurrency: whole('concurrency', o.concurrency ?? 8, 1), retries: whole('retries', o.retries ?? 8, 0), timeoutMs: whole('timeoutMs', o.timeoutMs ?? 300_000, 1),
    backOff: o.backOff ?? { baseMs: 1000, capMs: 60_000 }, longestWaitMs: o.longestWaitMs ?? 600_000, giveUp: whole('giveUp', o.giveUp ?? 8, 1), stream: o.stream ?? false,
    parameters: o.parameters ?? {}, note: o.note ?? (() => undefined), signal: o.signal, clock: o.clock ?? CLOCK,
    url: url.href, place: `${url.origin}${url.pathname}`, apiKey,
  };
}

/** The public API answers nobody without a key; a server of one's own may. @throws InputError */
export function needKey(s: Settings): void {
  if (s.apiKey === undefined && s.url.startsWith(new URL(PUBLIC).origin)) throw new InputError(`the judge openai:${s.model} needs a key for ${s.place}`, 'export OPENAI_API_KEY=…, or OPENAI_BASE_URL=http://localhost:8000/v1 for a server of your own');
}

/** Takes the key out of a text from elsewhere; a stand-in like EMPTY, which servers of one's own take, is no secret and may be a word. */
export const withoutKey = (s: Settings, text: string): string => (s.apiKey === undefined || s.apiKey.length < 8 ? text : text.replaceAll(s.apiKey, '[key]'));
