import { InputError } from '../../errors.js';
import type { Message } from '../text/template.js';
import { idsOf, unusable } from './check.js';
import type { Example } from './formats.js';
import type { Row } from './rows.js';
import type { TokenIds, TokeniseOptions } from './tokenise.js';

/** Does the row hold a list of responses with scores? */
export const isList = (row: Record<string, unknown>): boolean => 'responses' in row || 'responses_ids' in row;

/** Tokens of a list, and the score of each response, the best first. */
export interface ListTokens extends TokenIds {
  scores: number[];
}

const isText = (v: unknown): v is string => typeof v === 'string';
const isMessages = (v: unknown): v is Message[] => Array.isArray(v) && v.length > 0 && v.every((m) => isText((m as Message)?.role) && isText((m as Message)?.content));
const isIds = (v: unknown): v is number[] => Array.isArray(v) && v.every((x) => Number.isInteger(x) && (x as number) >= 0);

/** Each response of a row as an example of its own. */
function examples({ value, where }: Row): Example[] {
  const { prompt, responses, prompt_ids, responses_ids } = value;
  if (responses_ids !== undefined) {
    if (!isIds(prompt_ids) || !Array.isArray(responses_ids) || !responses_ids.every(isIds)) throw new InputError(`${where}: prompt_ids must be a list of token ids and responses_ids a list of such lists`);
    return responses_ids.map((chosen) => ({ kind: 'ids', prompt: prompt_ids, chosen }));
  }
  if (!Array.isArray(responses)) throw new InputError(`${where}: responses must be a list, got ${JSON.stringify(responses)?.slice(0, 40)}`);
  if (isText(prompt) && responses.every(isText)) return responses.map((chosen) => ({ kind: 'text', prompt, chosen }));
  if (isMessages(prompt) && responses.every((r) => isText(r) || isMessages(r))) return responses.map((r) => ({ kind: 'chat', prompt, chosen: isText(r) ? [{ role: 'assistant', content: r }] : (r as Message[]) }));
  throw new InputError(`${where}: prompt must be a text with responses that are texts, or a list of {role, content} with responses of texts or such lists`);
}

/** `prompt`, `responses`, `scores` (or `prompt_ids`, `responses_ids`, `scores`): tokens with the best response first, or why this row is of no use. */
export function listTokens(row: Row, o: TokeniseOptions): ListTokens | { refused: string } {
  const { scores } = row.value;
  const list = examples(row);
  const numbers = Array.isArray(scores) ? scores.map((s) => (typeof s === 'bigint' ? Number(s) : (s as number))) : [];
  if (!Array.isArray(scores) || !numbers.every((s) => typeof s === 'number' && Number.isFinite(s))) throw new InputError(`${row.where}: scores must be a list of numbers, one for each response`);
  if (numbers.length !== list.length) throw new InputError(`${row.where}: ${numbers.length} scores for ${list.length} responses`);
  if (list.length < 2) return { refused: 'a list of one response: there is nothing to rank' };
  if (numbers.every((s) => s === numbers[0])) return { refused: 'a list of equal scores: there is nothing to rank' };
  const order = numbers.map((_, i) => i).sort((i, j) => numbers[j]! - numbers[i]! || i - j);
  const responses: number[][] = [];
  let prompt: number[] = [];
  for (const i of order) {
    const reason = unusable(list[i]!);
    const tokens = reason === undefined ? idsOf(list[i]!, o, row.where) : { refused: reason };
    if ('refused' in tokens) return tokens;
    prompt = tokens.prompt;
    responses.push(tokens.responses[0]!);
  }
  return { prompt, responses, scores: order.map((i) => numbers[i]!) };
}
