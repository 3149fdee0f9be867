import { z } from 'zod';
import { shape, type KeyName } from './keys.js';

interface Json {
  type?: string;
  enum?: unknown[];
  anyOf?: Json[];
  items?: Json;
  properties?: Record<string, Json>;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
}

/** JSON Schema of one key as a person gives it. */
export const jsonOf = (name: KeyName): Json => z.toJSONSchema(shape[name], { io: 'input', unrepresentable: 'any' }) as Json;
/** Default of a key; undefined where it has none. */
export const defaultOf = (name: KeyName): unknown => {
  const parsed = (shape[name] as z.ZodType).safeParse(undefined);
  return parsed.success ? parsed.data : undefined;
};
/** Values a key chooses from, if it does. */
export const choicesOf = (name: KeyName): string[] | undefined => {
  const j = jsonOf(name);
  return (j.enum ?? j.anyOf?.find((one) => one.enum)?.enum) as string[] | undefined;
};
/** Does a key take numbers (and no text)? */
export const takesNumber = (name: KeyName): boolean => ['number', 'integer'].includes(jsonOf(name).type ?? '');
/** Does a key take a list of numbers? */
export const takesNumbers = (name: KeyName): boolean => jsonOf(name).items?.type === 'number';
export const takesList = (name: KeyName): boolean => jsonOf(name).anyOf?.some((j) => j.type === 'array') ?? false;

function range(j: Json, noun: string): string {
  // zod writes the safe integers as the bounds of a whole number; they say nothing to a person.
  const lo = j.exclusiveMinimum ?? (j.minimum !== undefined && j.minimum > Number.MIN_SAFE_INTEGER ? j.minimum : undefined);
  const hi = j.exclusiveMaximum ?? (j.maximum !== undefined && j.maximum < Number.MAX_SAFE_INTEGER ? j.maximum : undefined);
  if (lo !== undefined && hi !== undefined) return `${noun} in ${j.exclusiveMinimum === undefined ? '[' : '('}${lo}, ${hi}${j.exclusiveMaximum === undefined ? ']' : ')'}`;
  if (lo !== undefined) return `${noun} ${j.exclusiveMinimum === undefined ? '>=' : '>'} ${lo}`;
  return hi === undefined ? noun : `${noun} ${j.exclusiveMaximum === undefined ? '<=' : '<'} ${hi}`;
}

function words(j: Json): string {
  if (j.enum) return j.enum.length === 1 ? String(j.enum[0]) : `one of ${j.enum.join(', ')}`;
  if (j.anyOf) return j.anyOf.filter((one) => one.type !== 'null').map(words).join(' or ');
  switch (j.type) {
    case 'number':
      return range(j, 'a number');
    case 'integer':
      return range(j, 'a whole number');
    case 'boolean':
      return 'true or false';
    case 'array':
      return j.items?.enum ? 'a list of those' : j.items?.type === 'number' ? 'a list of numbers' : j.items?.type === 'object' ? `a list of mappings with ${Object.keys(j.items.properties ?? {}).join(', ')}` : 'a list of text';
    case 'object':
      return `a mapping with ${Object.keys(j.properties ?? {}).join(', ')}`;
    default:
      return 'text';
  }
}

/** The schema of a field of a mapping, or of an item of a list, also where null is an alternative. */
function fieldOf(j: Json | undefined, part: string): Json | undefined {
  const own = j?.properties?.[part] ?? (/^\d+$/.test(part) ? j?.items : undefined);
  return own ?? j?.anyOf?.map((one) => fieldOf(one, part)).find((one) => one !== undefined);
}

/** What a key (or, by `path`, an entry of a mapping) expects, in words: "a number in (0, 1)". */
export function expectation(name: KeyName, path: string[] = []): string {
  let j: Json | undefined = jsonOf(name);
  for (const part of path) j = fieldOf(j, part);
  return words(j ?? jsonOf(name));
}
