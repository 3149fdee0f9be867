import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import type { Document } from '../src/model/batch/pack.js';
import { keyedUniform } from '../src/model/data/order.js';
import { EdpoError } from '../src/errors.js';
import { modelSpec } from '../src/model/families/index.js';
import type { ModelSpec } from '../src/model/families/spec.js';

/** A line of the token file that edpo and its peers read. */
export interface PairIds {
  prompt_ids: number[];
  chosen_ids: number[];
  rejected_ids: number[];
}

// From dist/bench, where this runs, to the sources.
const file = (name: string): Record<string, unknown> => JSON.parse(readFileSync(new URL(`../../bench/peers/${name}`, import.meta.url), 'utf8')) as Record<string, unknown>;

function entry(name: string, key: string): unknown {
  const all = file(name);
  const keys = Object.keys(all).filter((k) => k !== 'made_by');
  if (!keys.includes(key)) throw new EdpoError(`no "${key}" in bench/peers/${name}`, { hint: `expected ${keys.join(', ')}`, exitCode: 2 });
  return all[key];
}

export const peerSpec = (model: string): ModelSpec => modelSpec(entry('models.json', model) as Record<string, unknown>, `bench/peers/models.json: ${model}`);

/** Pairs of the lengths of `lengths.json`, ids drawn from (pair, side, place) above the few that are special. `scale` below 1 shortens every part (rehearsals). */
export function drawPairs(lengths: string, vocab: number, scale = 1): PairIds[] {
  const { pairs } = entry('lengths.json', lengths) as { pairs: number[][] };
  const ids = (pair: number, side: number, count: number): number[] => Array.from({ length: Math.max(1, Math.round(count * scale)) }, (_, i) => 3 + Math.floor(keyedUniform(pair, side, i) * (vocab - 3)));
  return pairs.map(([p, c, r], i) => ({ prompt_ids: ids(i, 0, p!), chosen_ids: ids(i, 1, c!), rejected_ids: ids(i, 2, r!) }));
}

/** Writes such pairs to the file that edpo and its peers read. */
export const writeTokens = (path: string, lengths: string, vocab: number, scale = 1): void =>
  writeFileSync(path, drawPairs(lengths, vocab, scale).map((line) => `${JSON.stringify(line)}\n`).join(''));

export function readTokens(path: string): { pairs: PairIds[]; sha256: string } {
  const text = readFileSync(path);
  return { pairs: text.toString('utf8').trimEnd().split('\n').map((line) => JSON.parse(line) as PairIds), sha256: createHash('sha256').update(text).digest('hex') };
}

/** A pair as one document with its prompt once, or as two of one response each. */
export const documentsOfPair = ({ prompt_ids: prompt, chosen_ids, rejected_ids }: PairIds, id: number, shared: boolean): Document[] => shared
  ? [{ id, prompt, branches: [chosen_ids, rejected_ids] }]
  : [chosen_ids, rejected_ids].map((branch, side) => ({ id: 2 * id + side, prompt, branches: [branch], desirable: side === 0 }));
