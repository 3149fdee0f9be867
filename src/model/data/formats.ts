import { InputError } from '../../errors.js';
import type { ChatTemplate, Message } from '../text/template.js';
import { hf } from './hf.js';
import { hh } from './hh.js';
import { labelled } from './labelled.js';
import { isList } from './lists.js';
import type { Row } from './rows.js';
import { tokenized } from './tokenized.js';

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

/** Finds the format from the first row. */
export function detectFormat(row: Record<string, unknown>): Exclude<DatasetFormat, 'auto'> {
  if (isList(row)) return 'list';
  if ('prompt_ids' in row || 'chosen_ids' in row) return 'tokenized'; // completion_ids too: they come with a prompt
  if (typeof row['chosen'] === 'string' && !('prompt' in row) && row['chosen'].startsWith('\n\nHuman:')) return 'hh';
  return 'hf';
}

/**
 * Reads one row. Throws InputError where columns are missing or of a wrong type (the file is not what it was taken for);
 * returns a Refusal where this row alone is unusable.
 * @param weighted token ids come with a weight each, `chosen_weights` and `rejected_weights`
 */
export function readExample(row: Row, format: Exclude<DatasetFormat, 'auto'>, sides: Sides, template: ChatTemplate | undefined, weighted = false): Example | Refusal {
  if (sides === 'labelled') return labelled(row, format);
  if (sides === 2 && isLabelled(row.value)) throw new InputError(`${row.where}: one response with a label (unpaired data), and the method learns from pairs`, '--loss_type kto, bco or apo_zero_unpaired');
  if (format === 'tokenized') return tokenized(row, sides, weighted);
  if (format === 'hh') return hh(row, sides, template);
  return hf(row, sides);
}
