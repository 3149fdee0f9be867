import { InputError } from '../../errors.js';
import { need } from './columns.js';
import type { Example } from './formats.js';
import type { Row } from './rows.js';

/** prompt_ids, chosen_ids, rejected_ids; `weighted` with chosen_weights and rejected_weights. */
export function tokenized(row: Row, sides: 1 | 2, weighted: boolean): Example {
  const [prompt, chosen, rejected] = idLists(row, ['prompt_ids', 'chosen_ids', ...(sides === 2 ? ['rejected_ids'] : [])]);
  const e: Extract<Example, { kind: 'ids' }> = { kind: 'ids', prompt: prompt!, chosen: chosen!, ...(sides === 2 ? { rejected: rejected! } : {}) };
  return weighted ? withWeights(row, e) : e;
}

/** Columns that are lists of token ids. @throws InputError where one is absent or holds anything else */
export function idLists(row: Row, names: string[]): number[][] {
  need(row, names);
  return names.map((n) => {
    const v = row.value[n];
    // Parquet holds 64-bit integers, which are read as BigInt.
    const list = Array.isArray(v) ? v.map((x) => (typeof x === 'bigint' ? Number(x) : (x as unknown))) : [];
    if (!Array.isArray(v) || !list.every((x) => Number.isInteger(x) && (x as number) >= 0)) throw new InputError(`${row.where}: ${n} must be a list of token ids`);
    return list as number[];
  });
}

function withWeights(row: Row, e: Extract<Example, { kind: 'ids' }>): Example {
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
