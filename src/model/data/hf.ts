import { InputError } from '../../errors.js';
import type { Message } from '../text/template.js';
import { isMessages, need, PROMPTS_DIFFER, shape } from './columns.js';
import type { Example, Refusal } from './formats.js';
import type { Row } from './rows.js';

/** prompt, chosen, rejected as texts or message lists, with or without the prompt; one-sided rows in TRL’s shapes for SFT. */
export function hf(row: Row, sides: 1 | 2): Example | Refusal {
  const { prompt, chosen, rejected } = row.value;
  if (sides === 1 && chosen === undefined) return sft(row);
  need(row, ['chosen', ...(sides === 2 ? ['rejected'] : [])]);
  if (typeof chosen === 'string' && (sides === 1 || typeof rejected === 'string')) {
    const other = typeof rejected === 'string' ? rejected : undefined;
    const second = (text: string | undefined): { rejected?: string } => (sides === 2 ? { rejected: text! } : {});
    if (typeof prompt === 'string') return { kind: 'text', prompt, chosen, ...second(other) };
    if (isMessages(prompt)) {
      const reply = (text: string): Message[] => [{ role: 'assistant', content: text }];
      return { kind: 'chat', prompt, chosen: reply(chosen), ...(sides === 2 ? { rejected: reply(other!) } : {}) };
    }
    if (prompt !== undefined && prompt !== null) throw new InputError(`${row.where}: prompt must be a text or a list of {role, content}, got ${shape(prompt)}`);
    if (other === undefined) throw new InputError(`${row.where}: column prompt is missing and there is no second side to find it from`);
    const common = commonPrefix(chosen, other);
    if (common === '') return { refused: 'no prompt: chosen and rejected share no beginning' };
    return { kind: 'text', prompt: common, chosen: chosen.slice(common.length), ...second(other.slice(common.length)) };
  }
  if (isMessages(chosen) && (sides === 1 || isMessages(rejected))) return chat(row, prompt, chosen, sides === 2 ? (rejected as Message[]) : undefined);
  throw new InputError(`${row.where}: chosen and rejected must both be texts or both be lists of {role, content}, got ${shape(chosen)} and ${shape(rejected)}`);
}

const sameMessage = (a: Message, b: Message): boolean => a.role === b.role && a.content === b.content;

const beginsWith = (whole: Message[], part: Message[]): boolean => whole.length > part.length && part.every((m, i) => sameMessage(m, whole[i]!));

/** Message lists follow the prompt, or repeat it, whatever a prompt column holds (princeton-nlp's sets have its text there). */
function chat(row: Row, prompt: unknown, chosen: Message[], rejected: Message[] | undefined): Example | Refusal {
  const all = rejected ? [chosen, rejected] : [chosen];
  const cut = (head: Message[], from: number): Example => ({ kind: 'chat', prompt: head, chosen: chosen.slice(from), ...(rejected ? { rejected: rejected.slice(from) } : {}) });
  if (all.some((side) => side.length === 0)) return { refused: 'empty response' };
  if (isMessages(prompt)) {
    const repeats = all.filter((side) => beginsWith(side, prompt)).length;
    if (repeats > 0 && repeats < all.length) return { refused: PROMPTS_DIFFER };
    return cut(prompt, repeats > 0 ? prompt.length : 0);
  }
  if (prompt !== undefined && prompt !== null && typeof prompt !== 'string') throw new InputError(`${row.where}: prompt must be a text or a list of {role, content}, got ${shape(prompt)}`);
  let shared = rejected ? 0 : chosen.length - 1;
  if (rejected) while (shared < Math.min(chosen.length, rejected.length) - 1 && sameMessage(chosen[shared]!, rejected[shared]!)) shared++;
  if (shared > 0) return cut(chosen.slice(0, shared), shared);
  if (typeof prompt !== 'string') return { refused: 'no prompt: the two dialogues share no first message' };
  // Both sides are answers alone; a side that opens with another turn repeats a prompt, and not the other side's.
  if (all.some((side) => side[0]!.role !== 'assistant')) return { refused: PROMPTS_DIFFER };
  return cut([{ role: 'user', content: prompt }], 0);
}

function sft(row: Row): Example | Refusal {
  const { prompt, completion, messages, text } = row.value;
  if (isMessages(messages)) {
    if (messages.length < 2) return { refused: 'no prompt: a dialogue of fewer than two messages' };
    if (messages.at(-1)!.role === 'user' || messages.at(-1)!.role === 'system') return { refused: 'the dialogue does not end with an answer' };
    return { kind: 'chat', prompt: messages.slice(0, -1), chosen: messages.slice(-1) };
  }
  if (typeof prompt === 'string' && typeof completion === 'string') return { kind: 'text', prompt, chosen: completion };
  if (isMessages(prompt) && isMessages(completion)) return { kind: 'chat', prompt, chosen: completion };
  if (typeof text === 'string') return { kind: 'text', prompt: '', chosen: text };
  throw new InputError(`${row.where}: expected prompt and completion, messages, text, or chosen; it has ${Object.keys(row.value).join(', ')}`);
}

/** Longest common beginning, as TRL's extract_prompt takes it: a space before the point of difference goes to the answers. */
function commonPrefix(a: string, b: string): string {
  let n = 0;
  while (n < a.length && n < b.length && a[n] === b[n]) n++;
  // Two characters outside the basic plane may share their first half; half a character is none.
  if (n > 0 && /[\ud800-\udbff]/.test(a[n - 1]!)) n--;
  if (n > 0 && a[n - 1] === ' ') n--;
  return a.slice(0, n);
}
