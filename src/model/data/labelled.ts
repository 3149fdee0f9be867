import { InputError } from '../../errors.js';
import { isMessages, need, shape } from './columns.js';
import type { DatasetFormat, Example } from './formats.js';
import type { Row } from './rows.js';
import { idLists } from './tokenized.js';

/** prompt, completion, label (texts or message lists) or prompt_ids, completion_ids, label; the label true or false, or 1 or 0. */
export function labelled(row: Row, format: Exclude<DatasetFormat, 'auto'>): Example {
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
