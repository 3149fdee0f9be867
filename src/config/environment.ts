import { KEYS, shape, type KeyName } from './keys.js';
import { nearest } from './nearest.js';
import { fromText, readValue, type Reading } from './values.js';

const PREFIX = 'EDPO_';
/** Variables that are switches of edpo itself and its tests, not keys. */
const SWITCHES = ['LOG', 'WGSL', 'TOGGLES', 'TABLE_SPLIT', 'PRODUCTS', 'SHARED', 'FAULT', 'WITHOUT', 'END_WITH_PARENT'];

/** Was a value given by a variable of the environment? */
export const isEnvironment = (where: string): boolean => where.startsWith(PREFIX);

/** Keys set by EDPO_KEY variables; an empty one says nothing. A name close to a key's, but none, is noted. */
export function fromEnvironment(env: Record<string, string | undefined>, c: { notes: string[] }): Array<{ reading: Reading; where: string }> {
  const found: Array<{ reading: Reading; where: string }> = [];
  for (const where of Object.keys(env).filter((n) => n.startsWith(PREFIX)).sort()) {
    const name = where.slice(PREFIX.length);
    const text = env[where];
    if (!text || SWITCHES.includes(name) || name.startsWith('FAULT_')) continue;
    const key = name.toLowerCase();
    if (name === name.toUpperCase() && Object.hasOwn(shape, key)) {
      const reading = readValue(key as KeyName, fromText(key as KeyName, text), where);
      if (reading) found.push({ reading, where });
      continue;
    }
    const near = nearest(key, KEYS);
    if (near) c.notes.push(`${where}: not used (no key; did you mean ${PREFIX}${near.toUpperCase()}?)`);
  }
  return found;
}
