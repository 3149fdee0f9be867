import { z } from 'zod';
import { choicesOf, expectation } from './expect.js';
import { shape, type KeyName } from './keys.js';
import { nearest } from './nearest.js';

/** Something wrong with a key: a sentence, and where it was given ("line 31", "--beta", or nowhere). */
export interface Problem {
  key: string;
  what: string;
  where: string;
}

/** One line each, in columns, in the order of the file's lines; flags and keys given nowhere come last. */
export function formatProblems(problems: Problem[]): string[] {
  const line = (p: Problem): number => Number(/^line (\d+)$/.exec(p.where)?.[1] ?? Infinity);
  const width = Math.min(32, Math.max(...problems.map((p) => p.key.length)));
  const sorted = problems.map((p, i) => ({ p, i })).sort((a, b) => (line(a.p) === line(b.p) ? a.i - b.i : line(a.p) - line(b.p)));
  return sorted.map(({ p }) => `${p.key.padEnd(width)}  ${p.what}${p.where ? `   ${p.where}` : ''}`);
}

/** A value as a person wrote it, with its type where that may be the trouble. */
function gotText(value: unknown): string {
  if (typeof value === 'string') return `${JSON.stringify(value)} (string)`;
  if (Array.isArray(value)) return `${JSON.stringify(value)} (list)`;
  if (typeof value === 'object' && value !== null) return `${JSON.stringify(value)} (mapping)`;
  return String(value);
}

export const unknownKey = (key: string, known: Iterable<string>): string => {
  const near = nearest(key, known);
  return `unknown key${near ? `; did you mean ${near}?` : ''}`;
};

/** Problems of one key's value by its schema: expected, got. */
export function valueProblems(name: KeyName, value: unknown, where: string): Problem[] {
  const parsed = (shape[name] as z.ZodType).safeParse(value);
  if (parsed.success) return [];
  return parsed.error.issues.map((issue) => {
    const path = issue.path.map(String);
    const key = [name, ...path].join('.');
    if (issue.code === 'unrecognized_keys') return { key, what: issue.keys.map((k) => `${k}: ${unknownKey(k, [])}`).join('; ') + `; expected ${expectation(name, path)}`, where };
    const got = path.reduce<unknown>((v, p) => (v as Record<string, unknown> | undefined)?.[p], value);
    const expected = issue.code === 'custom' || issue.code === 'invalid_format' ? issue.message : `expected ${expectation(name, Array.isArray(value) ? [] : path)}`;
    const choices = choicesOf(name) ?? [];
    // Of a list, the first word that is none of the choices.
    const odd: unknown = Array.isArray(got) ? got.find((x) => !choices.includes(x as string)) : got;
    const near = typeof odd === 'string' ? nearest(odd, choices) : undefined;
    return { key, what: `${expected}, got ${gotText(got)}${near ? `; did you mean ${near}?` : ''}`, where };
  });
}
