import { z } from 'zod';
import { SINKS } from '../model/train/sinks/types.js';
import { REFUSED_VALUES, TRACKERS, VALUE_ALIASES } from './foreign_values.js';
import { defaultOf, takesList, takesNumber, takesNumbers } from './expect.js';
import { AUTO_BUDGET, shape, type KeyName } from './keys.js';
import { own } from './own.js';

/** A value ready for the schema under the key it ends up in, with what was made of it; or why it is refused. */
export interface Reading {
  name: KeyName;
  value: unknown;
  notes: string[];
  refused?: string;
}

/** Keys whose null means "no limit" in TRL; here 0 says that. */
const NO_LIMIT: readonly string[] = ['max_length', 'max_prompt_length'];
const STORAGE = ['bfloat16', 'float16', 'auto'];

/**
 * Reads one value of a key of ours, whoever wrote it: other trainers' words for the same thing become ours with a note.
 * @param label the key as it was written, for notes.
 * @returns undefined where the value says nothing (null of a key without a default)
 */
export function readValue(name: KeyName, given: unknown, label: string): Reading | undefined {
  const notes: string[] = [];
  if (given === null || given === undefined) {
    if (NO_LIMIT.includes(name)) return { name, value: 0, notes: [`${label}: null is read as no limit (0)`] };
    const fallback = defaultOf(name);
    return fallback === undefined ? undefined : { name, value: fallback, notes: [`${label}: null is read as the default, ${JSON.stringify(fallback)}`] };
  }
  if (name === 'dtype' && typeof given === 'string' && STORAGE.includes(given)) {
    return { name: 'save_dtype', value: given, notes: [`${label}: ${given} is taken as save_dtype (written weights); arithmetic is float32 unless dtype says mixed_f16`] };
  }
  if (name === 'report_to') return readReportTo(given, label);
  if (name === 'token_budget' && given === 'auto') return { name, value: AUTO_BUDGET, notes };
  let value = given;
  if (name === 'loss_type' && typeof value === 'string' && value.includes(',')) value = value.split(',').map((part) => part.trim());
  if (name === 'loss_type' && Array.isArray(value) && value.length === 1) value = value[0];
  if (typeof value === 'string') {
    const same = own(VALUE_ALIASES[name] ?? {}, value);
    if (same) {
      notes.push(`${label}: ${value} is read as ${same.as} (${same.why})`);
      value = same.as;
    } else if (takesNumber(name) && /^[+-]?\d+(\.\d*)?e[+-]?\d+$/i.test(given as string)) {
      // YAML 1.1 readers take 5e-7 for text, so files quote it; only such text becomes a number.
      value = Number(given);
      notes.push(`${label}: the text "${given as string}" is read as the number ${String(value)}`);
    }
  }
  const refused = typeof value === 'string' ? own(REFUSED_VALUES[name] ?? {}, value) : undefined;
  return { name, value, notes, ...(refused === undefined ? {} : { refused: `${String(value)} ${refused}` }) };
}

/** `report_to` as Hugging Face's trainers take it: names of services become notes, `all` what edpo has. */
function readReportTo(given: unknown, label: string): Reading {
  const asked = (Array.isArray(given) ? (given as unknown[]) : [given]).flatMap((v) => (typeof v === 'string' ? v.split(',').map((w) => w.trim()) : [v]));
  const notes: string[] = [];
  const value = asked.flatMap((v): unknown[] => {
    if (v === 'none' || v === '') return [];
    if (v === 'all') {
      notes.push(`${label}: all is read as ${SINKS.join(', ')}`);
      return [...SINKS];
    }
    if (typeof v !== 'string' || !TRACKERS.includes(v)) return [v];
    notes.push(`${label}: ${v} is not used (edpo talks to no service; docs/logging.md says how to import a run there)`);
    return [];
  });
  return { name: 'report_to', value, notes };
}

/** A flag's text as the key's type wants it; what does not convert is left for the schema to refuse. */
export function fromText(name: KeyName, text: string): unknown {
  const type = shape[name] as z.ZodType;
  if (takesNumber(name)) return text.trim() !== '' && !Number.isNaN(Number(text)) ? Number(text) : text;
  if (takesNumbers(name)) return text.split(',').map((part) => (part.trim() === '' || Number.isNaN(Number(part)) ? part : Number(part)));
  if (takesList(name)) return text;
  if ((text === 'true' || text === 'false') && type.safeParse(true).success) return text === 'true';
  if (text.startsWith('{') && type.safeParse({}).success) {
    try {
      return JSON.parse(text) as unknown;
    } catch {
      return text;
    }
  }
  return text;
}
