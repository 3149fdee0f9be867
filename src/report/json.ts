import { readFileSync } from 'node:fs';
import { InputError } from '../errors.js';

export const isObject = (v: unknown): v is Record<string, unknown> => typeof v === 'object' && v !== null && !Array.isArray(v);

/** A file that holds one JSON object. */
export function json(path: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    throw new InputError(`${path} cannot be read: ${(cause as Error).message}`, 'make it again with the command that wrote it', cause);
  }
  if (!isObject(value)) throw new InputError(`${path}: expected a JSON object, got ${Array.isArray(value) ? 'a list' : value === null ? 'null' : typeof value}`, 'make it again with the command that wrote it');
  return value;
}
