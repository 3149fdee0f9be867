import { shortestF32 } from '../files/float_formats.js';
import type { PairRecord } from './ledger.js';

/** One line of pairs.ndjson: f32 values in the shortest decimals that read back to the same bits; non-finite ones as null. */
export function ledgerLine(r: PairRecord): string {
  const parts = Object.entries(r).map(([key, value]) => `"${key}":${value === null ? 'null' : Number.isInteger(value) ? value : shortestF32(value as number)}`);
  return `{${parts.join(',')}}\n`;
}
