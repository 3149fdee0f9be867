import { InputError } from '../../errors.js';
import type { ChatTemplate, Message } from '../text/template.js';
import { hhDialogue, hhSplit } from './hh.js';
import type { Row } from './rows.js';

export const DATASET_FORMATS = ['auto', 'hf', 'hh', 'tokenized'] as const;
export type DatasetFormat = (typeof DATASET_FORMATS)[number];

/** One example before tokenisation: plain text, a chat, or ids taken as they are. `rejected` is absent in SFT data. */
export type Example =
  | { kind: 'text'; prompt: string; chosen: string; rejected?: string }
  | { kind: 'chat'; prompt: Message[]; chosen: Message[]; rejected?: Message[] }
  | { kind: 'ids'; prompt: number[]; chosen: number[]; rejected?: number[] };

/** Why a row cannot be used; counted and reported by reason. */
export interface Refusal {
  refused: string;
}

/** Finds the format from the first row. */
export function detectFormat(row: Record<string, unknown>): Exclude<DatasetFormat, 'auto'> {
  if ('prompt_ids' in row || 'chosen_ids' in row) return 'tokenized';
  if (typeof row['chosen'] === 'string' && !('prompt' in row) && row['chosen'].startsWith('\n\nHuman:')) return 'hh';
  return 'hf';
}

const isMessages = (v: unknown): v is Message[] =>
  Array.isArray(v) && v.every((m) => typeof (m as Message)?.role === 'string' && typeof (m as Message)?.content === 'string');
const sameMessage = (a: Message, b: Message): boolean => a.role === b.role && a.content === b.content;

/**
 * Reads one row. Throws InputError where columns are missing or of a wrong type (the file is not what it was taken for);
 * returns a Refusal where this row alone is unusable.
 */
export function readExample(row: Row, format: Exclude<DatasetFormat, 'auto'>, sides: 1 | 2, template: ChatTemplate | undefined): Example | Refusal {
  if (format === 'tokenized') return tokenized(row, sides);
  if (format === 'hh') return hh(row, sides, template);
  return hf(row, sides);
}

function need(row: Row, names: string[]): void {
  const missing = names.filter((n) => row.value[n] === undefined || row.value[n] === null);
  if (missing.length > 0) {
    throw new InputError(`${row.where}: column ${missing.join(', ')} is missing; it has ${Object.keys(row.value).join(', ') || 'none'}`, 'edpo reads prompt/chosen/rejected, chosen/rejected, prompt_ids/chosen_ids/rejected_ids; see --dataset_format');
  }
}

function tokenized(row: Row, sides: 1 | 2): Example {
  const names = ['prompt_ids', 'chosen_ids', ...(sides === 2 ? ['rejected_ids'] : [])];
  need(row, names);
  const ids = names.map((n) => {
    const v = row.value[n];
    if (!Array.isArray(v) || !v.every((x) => Number.isInteger(x) && (x as number) >= 0)) throw new InputError(`${row.where}: ${n} must be a list of token ids`);
    return v as number[];
  });
  return { kind: 'ids', prompt: ids[0]!, chosen: ids[1]!, ...(sides === 2 ? { rejected: ids[2]! } : {}) };
}

function hh(row: Row, sides: 1 | 2, template: ChatTemplate | undefined): Example | Refusal {
  need(row, ['chosen', ...(sides === 2 ? ['rejected'] : [])]);
  const chosen = hhSplit(String(row.value['chosen']));
  const rejected = sides === 2 ? hhSplit(String(row.value['rejected'])) : undefined;
  if (!chosen || (sides === 2 && !rejected)) throw new InputError(`${row.where}: no "\\n\\nAssistant:" turn; is this Anthropic-HH text?`, '--dataset_format hf for other data');
  if (rejected && chosen.prompt !== rejected.prompt) return { refused: 'prompts of the two sides differ' };
  if (!template) return { kind: 'text', prompt: chosen.prompt, chosen: chosen.reply, ...(rejected ? { rejected: rejected.reply } : {}) };
  const reply = (text: string): Message[] => [{ role: 'assistant', content: text.trim() }];
  return { kind: 'chat', prompt: hhDialogue(chosen.prompt), chosen: reply(chosen.reply), ...(rejected ? { rejected: reply(rejected.reply) } : {}) };
}

function hf(row: Row, sides: 1 | 2): Example | Refusal {
  const { prompt, chosen, rejected } = row.value;
  if (sides === 1 && chosen === undefined) return sft(row);
  need(row, ['chosen', ...(sides === 2 ? ['rejected'] : [])]);
  if (typeof chosen === 'string' && (sides === 1 || typeof rejected === 'string')) {
    const other = rejected as string | undefined;
    if (typeof prompt === 'string') return { kind: 'text', prompt, chosen, ...(sides === 2 ? { rejected: other! } : {}) };
    if (isMessages(prompt)) {
      const reply = (text: string): Message[] => [{ role: 'assistant', content: text }];
      return { kind: 'chat', prompt, chosen: reply(chosen), ...(sides === 2 ? { rejected: reply(other!) } : {}) };
    }
    if (sides === 1 || other === undefined) throw new InputError(`${row.where}: column prompt is missing and there is no second side to find it from`);
    const common = commonPrefix(chosen, other);
    if (common === '') return { refused: 'no prompt: chosen and rejected share no beginning' };
    return { kind: 'text', prompt: common, chosen: chosen.slice(common.length), rejected: other.slice(common.length) };
  }
  if (isMessages(chosen) && (sides === 1 || isMessages(rejected))) {
    const other = rejected as Message[] | undefined;
    // Message lists either repeat the prompt (whatever a prompt column holds) or follow it.
    let shared = 0;
    if (other && sides === 2) while (shared < Math.min(chosen.length, other.length) - 1 && sameMessage(chosen[shared]!, other[shared]!)) shared++;
    else if (!isMessages(prompt)) shared = chosen.length - 1;
    const head = chosen.slice(0, shared);
    const before = isMessages(prompt) && !prompt.every((m, i) => head[i] && sameMessage(m, head[i]!)) ? prompt : typeof prompt === 'string' && shared === 0 ? [{ role: 'user', content: prompt }] : [];
    const full = [...before, ...head];
    if (full.length === 0) return { refused: 'no prompt: the two dialogues share no first message' };
    return { kind: 'chat', prompt: full, chosen: chosen.slice(shared), ...(sides === 2 ? { rejected: other!.slice(shared) } : {}) };
  }
  throw new InputError(`${row.where}: chosen and rejected must both be texts or both be lists of {role, content}, got ${shape(chosen)} and ${shape(rejected)}`);
}

function sft(row: Row): Example {
  const { prompt, completion, messages, text } = row.value;
  if (isMessages(messages) && messages.length > 1) return { kind: 'chat', prompt: messages.slice(0, -1), chosen: messages.slice(-1) };
  if (typeof prompt === 'string' && typeof completion === 'string') return { kind: 'text', prompt, chosen: completion };
  if (isMessages(prompt) && isMessages(completion)) return { kind: 'chat', prompt, chosen: completion };
  if (typeof text === 'string') return { kind: 'text', prompt: '', chosen: text };
  throw new InputError(`${row.where}: expected prompt and completion, messages, text, or chosen; it has ${Object.keys(row.value).join(', ')}`);
}

const shape = (v: unknown): string => (Array.isArray(v) ? 'a list' : v === undefined ? 'nothing' : typeof v);

/** Longest common beginning, as TRL's extract_prompt takes it: a space before the point of difference goes to the answers. */
function commonPrefix(a: string, b: string): string {
  let n = 0;
  while (n < a.length && n < b.length && a[n] === b[n]) n++;
  if (n > 0 && a[n - 1] === ' ') n--;
  return a.slice(0, n);
}
