import { InputError } from '../../../errors.js';
import { nearest } from '../../../config/nearest.js';
import { logprobPreference } from '../alpaca_eval.js';
import type { Verdict } from '../types.js';
import { arenaPrompt, pairPrompt, ratingPrompt, tokenPrompt, type Prompt } from './prompts.js';
import type { Reply } from './reply.js';
import type { Kind } from './template.js';

/** What a reply says: a verdict on (a, b) or a rating; `detail` is kept beside it. Without either the reply is invalid and `detail.reason` says why. */
export interface Reading {
  verdict?: Exclude<Verdict, 'invalid'>;
  rating?: number;
  detail: Record<string, unknown>;
}

export interface Protocol {
  kind: Kind;
  prompt: Prompt;
  /** Of the request, beside model and messages. */
  parameters: Record<string, unknown>;
  read(reply: Reply): Reading;
  /** What the reply must carry besides text; an endpoint that cannot give it ends the run. */
  needs?: 'logprobs';
  /** Two equal answers are a tie and nobody is asked. */
  equalIsTie?: boolean;
}

const invalid = (reply: Reply, why: string): Reading => ({ detail: { reason: reply.finish_reason === 'length' ? `${why}; cut by max_tokens` : reply.finish_reason === 'content_filter' ? `${why}; held back by the endpoint’s filter` : why, judgment: reply.content } });

/**
 * AlpacaEval's weighted judge (weighted_alpaca_eval_gpt4_turbo): p(m) = e^l(m) / (e^l(m) + e^l(M)) over the first token's listed log-probs,
 * preference = 2 - p(m), where m is answer a. A name that is not listed has probability 0; neither listed: invalid.
 */
export function readToken(reply: Reply): Reading {
  const of = (name: string): number | undefined => reply.top_logprobs?.find((e) => e.token === name)?.logprob;
  const [m, M] = [of('m'), of('M')];
  if (reply.top_logprobs === undefined) return invalid(reply, 'no log-probabilities in the reply');
  const preference = logprobPreference(m, M);
  if (preference === undefined) return invalid(reply, 'neither m nor M among the likeliest tokens');
  return { verdict: preference < 1.5 ? 'a' : preference > 1.5 ? 'b' : 'tie', detail: { preference, top_logprobs: reply.top_logprobs } };
}

const SIDES: Record<string, Exclude<Verdict, 'invalid'>> = { 'A>>B': 'a', 'A>B': 'a', 'A=B': 'tie', 'B>A': 'b', 'B>>A': 'b' };
const MIRRORED: Record<string, string> = { 'A<<B': 'B>>A', 'A<B': 'B>A', 'B=A': 'A=B', 'B<A': 'A>B', 'B<<A': 'A>>B' };

function labelled(reply: Reply, found: string | undefined): Reading {
  const verdict = SIDES[found ?? ''];
  return found !== undefined && verdict ? { verdict, detail: { label: found, judgment: reply.content } } : invalid(reply, `${JSON.stringify(found)} is no verdict`);
}

/** Arena-Hard v0.1: all labels [[…]] in the reply must be the same one of the five; two different ones are no verdict. */
export function readArena(reply: Reply): Reading {
  const labels = new Set([...reply.content.matchAll(/\[\[([AB<>=]+)\]\]/g)].map((m) => m[1]!));
  if (labels.size === 0) return invalid(reply, 'no [[…]] label');
  if (labels.size > 1) return invalid(reply, `different labels: ${[...labels].join(', ')}`);
  return labelled(reply, [...labels][0]);
}

/** Arena-Hard v2: the last [[…]] label counts, else the last […] one, in either case; labels with < read as their mirror image. */
export function readArenaV2(reply: Reply): Reading {
  const text = reply.content.toUpperCase();
  const last = [/\[\[([AB<>=]+)\]\]/g, /\[([AB<>=]+)\]/g].map((r) => [...text.matchAll(r)].at(-1)?.[1]).find((label) => label !== undefined);
  return last === undefined ? invalid(reply, 'no [[…]] label') : labelled(reply, MIRRORED[last] ?? last);
}

/** MT-Bench pairwise: [[A]], [[B]] or [[C]] (a tie). Where FastChat takes the first of several in this order, two different ones are no verdict here. */
export function readPair(reply: Reply): Reading {
  const labels = new Set([...reply.content.matchAll(/\[\[([ABC])\]\]/g)].map((m) => m[1]!));
  if (labels.size !== 1) return invalid(reply, labels.size === 0 ? 'no [[A]], [[B]] or [[C]]' : `different labels: ${[...labels].join(', ')}`);
  const [label] = labels;
  return { verdict: label === 'A' ? 'a' : label === 'B' ? 'b' : 'tie', detail: { label, judgment: reply.content } };
}

/** MT-Bench single: [[n]] with n from 1 to 10. Two different ratings, or one in single brackets (which FastChat accepts), are none here. */
export function readRating(reply: Reply): Reading {
  const ratings = new Set([...reply.content.matchAll(/\[\[(\d+(?:\.\d+)?)\]\]/g)].map((m) => Number(m[1])));
  if (ratings.size !== 1) return invalid(reply, ratings.size === 0 ? 'no [[rating]]' : `different ratings: ${[...ratings].join(', ')}`);
  const [rating] = [...ratings] as [number];
  return rating >= 1 && rating <= 10 ? { rating, detail: { judgment: reply.content } } : invalid(reply, `rating ${rating} is not from 1 to 10`);
}

/** Protocols by name, with the sampling parameters of their publications. */
export const PROTOCOLS = {
  // Temperature 1 as published: it does not touch the log-probabilities.
  'alpaca-eval': { kind: 'pair', prompt: tokenPrompt, parameters: { temperature: 1, max_tokens: 1, logprobs: true, top_logprobs: 5 }, read: readToken, needs: 'logprobs', equalIsTie: true },
  'arena-hard': { kind: 'pair', prompt: arenaPrompt, parameters: { temperature: 0, max_tokens: 4096 }, read: readArena },
  'arena-hard-v2': { kind: 'pair', prompt: arenaPrompt, parameters: { temperature: 0, max_tokens: 16000 }, read: readArenaV2 },
  'mt-bench': { kind: 'pair', prompt: pairPrompt, parameters: { temperature: 0, max_tokens: 2048 }, read: readPair },
  'mt-bench-single': { kind: 'single', prompt: ratingPrompt, parameters: { temperature: 0, max_tokens: 2048 }, read: readRating },
} as const satisfies Record<string, Protocol>;
export type ProtocolName = keyof typeof PROTOCOLS;
export const JUDGE_PROTOCOLS = Object.keys(PROTOCOLS) as [ProtocolName, ...ProtocolName[]];

/** @throws InputError for another name */
export function protocolOf(name: string): Protocol {
  if (Object.hasOwn(PROTOCOLS, name)) return PROTOCOLS[name as ProtocolName];
  const near = nearest(name, Object.keys(PROTOCOLS));
  throw new InputError(`judge protocol: expected one of ${Object.keys(PROTOCOLS).join(', ')}, got ${JSON.stringify(name)}`, near ? `did you mean ${near}?` : undefined);
}
