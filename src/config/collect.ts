import { readFileSync } from 'node:fs';
import { InputError } from '../errors.js';
import { ALIASES, IGNORED, isNeutral, SECTIONS, UNAVAILABLE, YIELDING } from './foreign.js';
import { fromEnvironment, isEnvironment } from './environment.js';
import { FORM_KEYS, isFormKey, readForms, type FormKey } from './forms.js';
import { isSimpoForm, setSimpoMargin, simpoSurrogate } from './simpo.js';
import { KEYS, shape, type KeyName } from './keys.js';
import { own } from './own.js';
import { unknownKey, type Problem } from './problems.js';
import { fromText, readValue } from './values.js';
import { readYaml, type YamlEntry } from './yaml.js';

/** Values by key, each with the place it came from. */
export type Given = Map<string, { value: unknown; where: string }>;

/** What becomes of one key of a file. */
export interface Fate {
  /** As written; a section's keys with its name before them. */
  key: string;
  line: number;
  value: unknown;
  fate: 'used' | 'ignored' | 'differs' | 'refused';
  /** Keys and values it is read as, where those are others than written. */
  as?: Record<string, unknown>;
  why?: string;
}

export interface Collected {
  given: Given;
  notes: string[];
  problems: Problem[];
  /** Keys with a problem of their own: their values are not looked at further. */
  bad: Set<string>;
  /** One per key of the file, in its order. */
  fates: Fate[];
  /** Structured keys of other trainers, read together once all are there. */
  forms: Map<FormKey, { value: unknown; where: string; fate: Fate }>;
  /** SimPO's γ/β, where a file gives that. */
  ratio?: { value: unknown; where: string };
  /** Is the file in the form of SimPO's own code? */
  simpo?: boolean;
  /** Keys of the file as written. */
  written?: ReadonlySet<string>;
}

const KNOWN = [...KEYS, 'gamma_beta_ratio', ...Object.keys(ALIASES), ...FORM_KEYS];
const isKey = (name: string): name is KeyName => Object.hasOwn(shape, name);

/** Reads the environment's defaults, the YAML file over them, then the flags; says of every foreign key what became of it. */
export function collect(file: string | undefined, flags: Record<string, string>, env: Record<string, string | undefined> = {}): Collected {
  const c: Collected = { given: new Map(), notes: [], problems: [], bad: new Set(), fates: [], forms: new Map() };
  const defaults = fromEnvironment(env, c);
  for (const { reading, where } of defaults) put(c, reading, where);
  if (file !== undefined) collectFile(file, c);
  for (const [flag, text] of Object.entries(flags)) {
    const where = `--${flag}`;
    if (!isKey(flag)) {
      c.problems.push({ key: flag, what: unknownKey(flag, KEYS), where });
      continue;
    }
    // A flag replaces whatever the file said of the key, also a bad value.
    forget(c, flag);
    replaceData(c, flag);
    const reading = readValue(flag, fromText(flag, text), where)!;
    forget(c, reading.name);
    put(c, reading, where);
  }
  setSimpoMargin(c);
  for (const { reading: { name, value }, where } of defaults) if (c.given.get(name)?.where === where) c.notes.push(`${name}: ${JSON.stringify(value)} (default from ${where})`);
  return c;
}

function collectFile(file: string, c: Collected): void {
  const entries = readYaml(readText(file), file, Object.keys(SECTIONS));
  c.simpo = isSimpoForm(entries);
  c.written = new Set(entries.map((e) => e.key));
  for (const entry of entries) collectEntry(entry, c);
  setForms(c);
  // The nested form is the official ε-DPO repository's, where the loss is not a key.
  const nested = entries.some((e) => e.path[0] === 'training_args' && e.key === 'epsilon');
  if (nested && !c.given.has('loss_type')) {
    c.given.set('loss_type', { value: 'epsilon_dpo', where: 'the form of the file' });
    c.notes.push('loss_type: epsilon_dpo (this is the form of the official ε-DPO code, which has no other loss)');
  }
}

function readText(file: string): string {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (cause) {
    throw new InputError(`cannot read the configuration ${file}: ${(cause as Error).message}`, '--config FILE.yaml', cause);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new InputError(`${file}: expected YAML in UTF-8, got bytes that are not UTF-8`, 'save the file as UTF-8', cause);
  }
}

function collectEntry({ key, path, value, line }: YamlEntry, c: Collected): void {
  const label = path.join('.');
  const where = `line ${line}`;
  const fate = (fate: Fate['fate'], why?: string, as?: Record<string, unknown>): void => void c.fates.push({ key: label, line, value, fate, ...(as ? { as } : {}), ...(why ? { why } : {}) });
  const problem = (what: string): void => {
    c.problems.push({ key: label, what, where });
    fate('refused', what);
  };
  if (path.length === 1 && isFormKey(key)) {
    fate('used');
    c.forms.set(key, { value, where, fate: c.fates.at(-1)! });
    return;
  }
  if (path.length === 1 && key === 'gamma_beta_ratio') {
    c.ratio = { value, where };
    return fate('used', 'times beta: simpo_gamma');
  }
  if (c.simpo && path.length === 1 && key === 'loss_type') {
    const read = simpoSurrogate(value);
    if ('problem' in read) return problem(read.problem);
    c.notes.push(`loss_type: read as simpo (with gamma_beta_ratio)`);
    put(c, { name: 'loss_type', value: read.value, notes: [] }, where);
    return fate('used', undefined, { loss_type: 'simpo' });
  }
  const section = path.length > 1 ? SECTIONS[path[0]!] : undefined;
  const name = (section && own(section, key)) ?? (isKey(key) ? key : (own(ALIASES, key) ?? key));
  const unused = own(IGNORED, name);
  if (unused !== undefined) {
    c.notes.push(`${label}: not used (${unused})`);
    return fate('ignored', unused);
  }
  const unavailable = own(UNAVAILABLE, name);
  if (unavailable) {
    if (!isNeutral(name, value)) return problem(`${unavailable.why}, got ${JSON.stringify(value)}`);
    c.notes.push(`${label}: not used (${JSON.stringify(value)} asks for nothing)`);
    return fate('ignored', 'asks for nothing');
  }
  if (!isKey(name)) return problem(unknownKey(key, KNOWN));
  if (YIELDING.has(key) && c.written?.has(name)) {
    const why = `${name} stands beside it; the result is the same`;
    c.notes.push(`${label}: not used (${why})`);
    return fate('ignored', why);
  }
  if (name !== label) c.notes.push(`${label}: read as ${name}`);
  const reading = readValue(name, value, label);
  if (!reading) return fate('ignored', 'null says nothing');
  put(c, reading, where);
  // A note of readValue begins with the label; the same under another spelling is no difference.
  const why = reading.notes.map((n) => n.slice(label.length + 2)).join('; ') || undefined;
  const same = reading.name === label && JSON.stringify(reading.value) === JSON.stringify(value);
  fate(reading.name !== name ? 'differs' : 'used', why, same ? undefined : { [reading.name]: reading.value });
}

/** What the structured keys of a file say of its data, as keys of ours. */
function setForms(c: Collected): void {
  for (const read of readForms(Object.fromEntries([...c.forms].map(([key, { value }]) => [key, value])))) {
    const { key } = read;
    const { where, fate } = c.forms.get(key)!;
    if ('problem' in read) {
      c.problems.push({ key, what: read.problem, where });
      Object.assign(fate, { fate: 'refused', why: read.problem });
    } else if ('within' in read) {
      fate.why = `together with ${read.within}`;
      c.notes.push(`${key}: read together with ${read.within}`);
    } else {
      for (const [name, value] of Object.entries(read.set)) {
        c.notes.push(`${key}: read as ${name} ${JSON.stringify(value)}`);
        put(c, { name: name as KeyName, value, notes: [] }, where);
      }
      fate.as = read.set;
    }
  }
}

/** Other data by a flag stand in place of the file's, also where those are given by another key. */
function replaceData(c: Collected, flag: KeyName): void {
  const others: KeyName[] = flag === 'dataset_mixture' ? ['dataset_name', 'data_files', 'data_dir', 'dataset_revision'] : flag === 'dataset_name' || flag === 'data_files' ? ['dataset_mixture'] : [];
  for (const other of others) {
    const before = c.given.get(other);
    if (!before || before.where.startsWith('--')) continue;
    forget(c, other);
    c.notes.push(`${other}: not used (--${flag} names other data)`);
  }
}

export function put(c: Collected, { name, value, notes, refused }: { name: KeyName; value: unknown; notes: string[]; refused?: string }, where: string): void {
  let before = c.given.get(name);
  // A default of the environment gives way, also a bad one.
  if (before && isEnvironment(before.where)) {
    forget(c, name);
    before = undefined;
  }
  if (before) c.problems.push({ key: name, what: `given twice, ${before.where} and here; keep one`, where });
  if (refused !== undefined) {
    c.problems.push({ key: name, what: refused, where });
    c.bad.add(name);
  }
  c.notes.push(...notes);
  c.given.set(name, { value, where });
}

function forget(c: Collected, name: KeyName): void {
  const before = c.given.get(name);
  if (!before || before.where.startsWith('--')) return;
  c.given.delete(name);
  c.bad.delete(name);
  c.problems = c.problems.filter((p) => p.key !== name);
}
