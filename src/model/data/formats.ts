import { InputError } from '../../errors.js';
import type { ChatTemplate, Message } from '../text/template.js';
import { hhDialogue, hhSplit } from './hh.js';
import { isList } from './lists.js';
import type { Row } from './rows.js';

export const DATASET_FORMATS = ['auto', 'hf', 'hh', 'tokenized', 'list'] as const;
export type DatasetFormat = (typeof DATASET_FORMATS)[number];

/** One example before tokenisation: plain text, a chat, or ids taken as they are. `rejected` is absent in SFT data and where responses have labels (`desirable`). */
export type Example =
  | { kind: 'text'; prompt: string; chosen: string; rejected?: string; desirable?: boolean }
  | { kind: 'chat'; prompt: Message[]; chosen: Message[]; rejected?: Message[]; desirable?: boolean }
  | { kind: 'ids'; prompt: number[]; chosen: number[]; rejected?: number[]; weights?: number[][]; desirable?: boolean };

/** What is wanted of a row: one response, a pair, or one response with a label. */
export type Sides = 1 | 2 | 'labelled';

/** Does the row hold one response with a label (TRL's unpaired preference), not a pair? */
export const isLabelled = (row: Record<string, unknown>): boolean => 'label' in row && !('chosen' in row) && !('chosen_ids' in row);

/** Why a row cannot be used; counted and reported by reason. */
export interface Refusal {
  refused: string;
}

const PROMPTS_DIFFER = 'prompts of the two sides differ';

/** Finds the format from the first row. */
export function detectFormat(row: Record<string, unknown>): Exclude<DatasetFormat, 'auto'> {
  if (isList(row)) return 'list';
  if ('prompt_ids' in row || 'chosen_ids' in row) return 'tokenized'; // completion_ids too: they come with a prompt
  if (typeof row['chosen'] === 'string' && !('prompt' in row) && row['chosen'].startsWith('\n\nHuman:')) return 'hh';
  return 'hf';
}

const isMessages = (v: unknown): v is Message[] =>
  Array.isArray(v) && v.every((m) => typeof (m as Message)?.role === 'string' && typeof (m as Message)?.content === 'string');
const sameMessage = (a: Message, b: Message): boolean => a.role === b.role && a.content === b.content;

/**
 * Reads one row. Throws InputError where columns are missing or of a wrong type (the file is not what it was taken for);
 * returns a Refusal where this row alone is unusable.
 * @param weighted token ids come with a weight each, `chosen_weights` and `rejected_weights`
 */
export function readExample(row: Row, format: Exclude<DatasetFormat, 'auto'>, sides: Sides, template: ChatTemplate | undefined, weighted = false): Example | Refusal {
  if (sides === 'labelled') return labelled(row, format);
  if (sides === 2 && isLabelled(row.value)) throw new InputError(`${row.where}: one response with a label (unpaired data), and the method learns from pairs`, '--loss_type kto, bco or apo_zero_unpaired');
  if (format === 'tokenized') return weighted ? withWeights(row, tokenized(row, sides)) : tokenized(row, sides);
  if (format === 'hh') return hh(row, sides, template);
  return hf(row, sides);
}

function need(row: Row, names: string[]): void {
  const missing = names.filter((n) => row.value[n] === undefined || row.value[n] === null);
  if (missing.length > 0) {
    throw new InputError(`${row.where}: column ${missing.join(', ')} is missing; it has ${Object.keys(row.value).join(', ') || 'none'}`, 'edpo reads prompt/chosen/rejected, chosen/rejected, prompt_ids/chosen_ids/rejected_ids, prompt/completion/label; see --dataset_format');
  }
}

function tokenized(row: Row, sides: 1 | 2): Example {
  const ids = idLists(row, ['prompt_ids', 'chosen_ids', ...(sides === 2 ? ['rejected_ids'] : [])]);
  return { kind: 'ids', prompt: ids[0]!, chosen: ids[1]!, ...(sides === 2 ? { rejected: ids[2]! } : {}) };
}

/** prompt, completion, label (texts or message lists) or prompt_ids, completion_ids, label; the label true or false, or 1 or 0. */
function labelled(row: Row, format: Exclude<DatasetFormat, 'auto'>): Example {
  const tokens = format === 'tokenized';
  need(row, [...(tokens ? ['prompt_ids', 'completion_ids'] : ['prompt', 'completion']), 'label']);
  const { prompt, completion, label } = row.value;
  const desirable = typeof label === 'boolean' ? label : [0, 1, 0n, 1n].includes(label as number) ? Number(label) === 1 : undefined;
  if (desirable === undefined) throw new InputError(`${row.where}: label must be true or false, got ${JSON.stringify(label)}`);
  if (tokens) {
    const [head, ids] = idLists(row, ['prompt_ids', 'completion_ids']);
    return { kind: 'ids', prompt: head!, chosen: ids!, desirable };
  }
  if (typeof prompt === 'string' && typeof completion === 'string') return { kind: 'text', prompt, chosen: completion, desirable };
  if (isMessages(prompt) && isMessages(completion)) return { kind: 'chat', prompt, chosen: completion, desirable };
  if (isMessages(prompt) && typeof completion === 'string') return { kind: 'chat', prompt, chosen: [{ role: 'assistant', content: completion }], desirable };
  throw new InputError(`${row.where}: prompt and completion must both be texts or both be lists of {role, content}, got ${shape(prompt)} and ${shape(completion)}`);
}

function idLists(row: Row, names: string[]): number[][] {
  need(row, names);
  return names.map((n) => {
    const v = row.value[n];
    // Parquet holds 64-bit integers, which are read as BigInt.
    const list = Array.isArray(v) ? v.map((x) => (typeof x === 'bigint' ? Number(x) : (x as unknown))) : [];
    if (!Array.isArray(v) || !list.every((x) => Number.isInteger(x) && (x as number) >= 0)) throw new InputError(`${row.where}: ${n} must be a list of token ids`);
    return list as number[];
  });
}

function withWeights(row: Row, e: Example): Example {
  if (e.kind !== 'ids') return e;
  need(row, ['chosen_weights', 'rejected_weights']);
  const weights = (['chosen', 'rejected'] as const).map((side) => {
    const given = row.value[`${side}_weights`];
    const list = Array.isArray(given) ? given.map((x) => (typeof x === 'bigint' ? Number(x) : (x as unknown))) : [];
    if (!Array.isArray(given) || !list.every((x) => typeof x === 'number' && Number.isFinite(x) && x >= 0)) throw new InputError(`${row.where}: ${side}_weights must be a list of numbers from 0 on`);
    if (list.length !== e[side]!.length) throw new InputError(`${row.where}: ${side}_weights has ${list.length} numbers for ${e[side]!.length} tokens of ${side}_ids`, 'one weight for each token id');
    return list as number[];
  });
  return { ...e, weights };
}

function hh(row: Row, sides: 1 | 2, template: ChatTemplate | undefined): Example | Refusal {
  need(row, ['chosen', ...(sides === 2 ? ['rejected'] : [])]);
  const texts = [row.value['chosen'], ...(sides === 2 ? [row.value['rejected']] : [])];
  if (!texts.every((v) => typeof v === 'string')) throw new InputError(`${row.where}: chosen and rejected must be texts, got ${texts.map(shape).join(' and ')}`, '--dataset_format hf for message lists');
  const [chosen, rejected] = texts.map((v) => hhSplit(v as string));
  if (!chosen || (sides === 2 && !rejected)) throw new InputError(`${row.where}: no "\\n\\nAssistant:" turn; is this Anthropic-HH text?`, '--dataset_format hf for other data');
  if (rejected && chosen.prompt !== rejected.prompt) return { refused: PROMPTS_DIFFER };
  if (!template) return { kind: 'text', prompt: chosen.prompt, chosen: chosen.reply, ...(rejected ? { rejected: rejected.reply } : {}) };
  const reply = (text: string): Message[] => [{ role: 'assistant', content: text.trim() }];
  if (!/^\s*(Human|Assistant):/.test(chosen.prompt)) return { refused: 'text before the first turn' };
  return { kind: 'chat', prompt: hhDialogue(chosen.prompt), chosen: reply(chosen.reply), ...(rejected ? { rejected: reply(rejected.reply) } : {}) };
}

function hf(row: Row, sides: 1 | 2): Example | Refusal {
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

const shape = (v: unknown): string => (Array.isArray(v) ? (isMessages(v) ? 'a list of messages' : 'a list of other things') : v === undefined || v === null ? 'nothing' : typeof v === 'string' ? 'a text' : `a value of type ${typeof v}`);

/** Longest common beginning, as TRL's extract_prompt takes it: a space before the point of difference goes to the answers. */
function commonPrefix(a: string, b: string): string {
  let n = 0;
  while (n < a.length && n < b.length && a[n] === b[n]) n++;
  // Two characters outside the basic plane may share their first half; half a character is none.
  if (n > 0 && /[\ud800-\udbff]/.test(a[n - 1]!)) n--;
  if (n > 0 && a[n - 1] === ' ') n--;
  return a.slice(0, n);
}
