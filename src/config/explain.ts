import { collect, type Fate } from './collect.js';
import { contradictions } from './contradictions.js';
import type { Purpose } from './contradictions_types.js';
import { differences, UNSAID } from './foreign_differences.js';
import { schema, shape, type KeyName } from './keys.js';
import { valueProblems } from './problems.js';

/** Whose form a file has. */
export type Dialect = 'the official ε-DPO code' | 'SimPO' | 'the alignment handbook' | 'TRL' | 'edpo';

export interface Explanation {
  file: string;
  form: Dialect;
  /** Does the file run as it is? */
  runs: boolean;
  /** One per key of the file, in its order. */
  keys: Fate[];
  /** Keys the file leaves out whose default here does otherwise than the other trainer. */
  unsaid: Array<{ key: string; why: string }>;
}

const OWN: string[] = ['epsilon', 'criterion', 'beta_update', 'ref_mode', 'ref_cache', 'total_batch_size', 'token_budget', 'save_dtype', 'dataset_format', 'tokenization', 'bad_rows', 'adapter', 'on_nonfinite'] satisfies KeyName[];

function dialect(fates: Fate[]): Dialect {
  const has = (...names: string[]): boolean => fates.some((f) => names.includes(f.key));
  if (fates.some((f) => f.key.startsWith('training_args.'))) return 'the official ε-DPO code';
  if (has('gamma_beta_ratio', 'simpo_gamma')) return 'SimPO';
  if (has('dataset_mixer', 'dataset_mixture', 'dataset_splits', 'preprocessing_num_workers')) return 'the alignment handbook';
  // One key that only edpo has, and none that only others have.
  return fates.some((f) => OWN.includes(f.key)) && fates.every((f) => Object.hasOwn(shape, f.key) || f.fate === 'refused') ? 'edpo' : 'TRL';
}

/** Keys whose values nobody wants on a screen. */
const SECRET = /^(hub_token|push_to_hub_token|wandb_api_key|.*api_key)$/;

/**
 * What becomes of every key of a YAML file: used (under which name), ignored because, differs because, refused because.
 * @throws InputError where the file cannot be read as YAML; keys that cannot be followed are part of the answer
 */
export function explainFile(file: string, purpose: Purpose): Explanation {
  const c = collect(file, {});
  const fates = c.fates.map((f) => ({ ...f }));
  const name = (f: Fate): string[] => (f.as ? Object.keys(f.as) : [f.key.split('.').at(-1)!]);
  const refuse = (key: string, why: string): void => {
    for (const f of fates) {
      if (f.fate === 'refused' || !name(f).includes(key.split('.')[0]!)) continue;
      f.fate = 'refused';
      f.why = why;
    }
  };
  const values: Record<string, unknown> = {};
  for (const [key, { value, where }] of c.given) {
    if (c.bad.has(key)) continue;
    const problems = valueProblems(key as KeyName, value, where);
    for (const p of problems) refuse(p.key, p.what);
    if (problems.length > 0) c.bad.add(key);
    else values[key] = value;
  }
  // Also what collect found of two keys together (given twice, refused values).
  for (const p of c.problems) refuse(p.key, p.what);
  const config = schema.parse(values);
  const together = contradictions(config, c.given, c.bad, purpose);
  for (const p of together.problems) if (c.given.has(p.key)) refuse(p.key, p.what);
  for (const note of together.notes) {
    const [, keys, why] = /^([\w, ]+): not used \((.*)\)$/.exec(note) ?? [];
    for (const f of fates) if (keys && f.fate !== 'refused' && name(f).some((n) => keys.split(', ').includes(n))) Object.assign(f, { fate: 'ignored', why });
  }
  const form = dialect(fates);
  const given = new Set(c.given.keys());
  for (const f of fates) {
    if (SECRET.test(f.key)) f.value = '(not shown)';
    if (form === 'edpo' || (f.fate !== 'used' && f.fate !== 'ignored')) continue;
    const why = name(f).map((n) => differences(n, f.value, given)).find((d) => d !== undefined);
    if (why !== undefined) Object.assign(f, { fate: 'differs', why: f.why && f.fate === 'used' ? `${f.why}; ${why}` : why });
  }
  return { file, form, runs: fates.every((f) => f.fate !== 'refused'), keys: fates, unsaid: form === 'edpo' ? [] : UNSAID.filter((u) => !given.has(u.key) && (u.of === undefined || u.of === form)).map(({ key, why }) => ({ key, why })) };
}

const short = (value: unknown): string => {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? 'null');
  const line = text.replace(/\s+/g, ' ');
  return line.length > 60 ? `${line.slice(0, 57)}…` : line;
};

/** The explanation as lines for people: one a key, in the file's order. */
export function explanationText(e: Explanation): string[] {
  const width = Math.min(40, Math.max(3, ...e.keys.map((f) => f.key.length)));
  const how = (f: Fate): string => {
    const as = f.as && Object.entries(f.as).map(([k, v]) => `${k}: ${short(v)}`).join(', ');
    if (f.fate === 'used') return as ? `as ${as}${f.why ? ` (${f.why})` : ''}` : short(f.value);
    return `${short(f.value)}${as && f.fate === 'differs' ? `, read as ${as}` : ''}: ${f.why}`;
  };
  const n = (fate: Fate['fate']): number => e.keys.filter((f) => f.fate === fate).length;
  return [
    `${e.file}: the form of ${e.form}`,
    ...e.keys.map((f) => `${String(f.line).padStart(4)}  ${f.fate.padEnd(7)}  ${f.key.padEnd(width)}  ${how(f)}`),
    ...e.unsaid.map((u) => `   -  unsaid   ${u.key.padEnd(width)}  ${u.why}`),
    `${n('used')} used, ${n('differs')} differ, ${n('ignored')} ignored, ${n('refused')} refused${e.runs ? '' : ': edpo does not run this file until those are changed'}`,
  ];
}
