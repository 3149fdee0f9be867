import { InputError } from '../../errors.js';
import type { Message } from '../text/template.js';
import type { Row } from './rows.js';

/** Why a pair whose sides answer different prompts is of no use. */
export const PROMPTS_DIFFER = 'prompts of the two sides differ';

/** @throws InputError where a column is absent or null */
export function need(row: Row, names: string[]): void {
  const missing = names.filter((n) => row.value[n] === undefined || row.value[n] === null);
  if (missing.length > 0) {
    throw new InputError(`${row.where}: column ${missing.join(', ')} is missing; it has ${Object.keys(row.value).join(', ') || 'none'}`, 'edpo reads prompt/chosen/rejected, chosen/rejected, prompt_ids/chosen_ids/rejected_ids, prompt/completion/label; see --dataset_format');
  }
}

export const isMessages = (v: unknown): v is Message[] =>
  Array.isArray(v) && v.every((m) => typeof (m as Message)?.role === 'string' && typeof (m as Message)?.content === 'string');

/** What a value is, in words. */
export const shape = (v: unknown): string => (Array.isArray(v) ? (isMessages(v) ? 'a list of messages' : 'a list of other things') : v === undefined || v === null ? 'nothing' : typeof v === 'string' ? 'a text' : `a value of type ${typeof v}`);
