import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { InputError, InputErrors } from '../errors.js';
import { ALIASES, IGNORED, SECTIONS } from './foreign.js';
import { KEYS, META, schema, shape, type Command, type KeyName, type RunConfig } from './keys.js';
import { nearest } from './nearest.js';
import { readYaml, writeYaml } from './yaml.js';

export interface LoadOptions {
  file?: string | undefined;
  /** Flags as typed: key → text. */
  flags: Record<string, string>;
  command: Command;
}

interface Given {
  value: unknown;
  where: string;
}

/**
 * Default < YAML < flag. Unknown keys, wrong types, values out of range and contradictions are all reported at once.
 * @returns the frozen configuration and, per key of another trainer, a note of what was made of it.
 */
export function loadConfig(o: LoadOptions): { config: RunConfig; notes: string[] } {
  const given = new Map<string, Given>();
  const notes: string[] = [];
  const problems: string[] = [];
  if (o.file !== undefined) readFile(o.file, given, notes, problems);
  for (const [name, value] of Object.entries(o.flags)) given.set(name, { value: fromText(name, value), where: `--${name}` });

  const values = Object.fromEntries([...given].map(([k, g]) => [k, g.value]));
  const parsed = schema.safeParse(values);
  if (!parsed.success) for (const issue of parsed.error.issues) problems.push(issueText(issue, values, given));
  if (parsed.success) problems.push(...contradictions(parsed.data, given, o.command));
  if (problems.length > 0) {
    const n = problems.length;
    throw new InputErrors(`${o.file ?? 'the flags'} ${o.file ? 'has' : 'have'} ${n} problem${n > 1 ? 's' : ''}`, problems, 'edpo config --explain KEY says what a key means');
  }
  return { config: Object.freeze(parsed.data!), notes };
}

function readFile(file: string, given: Map<string, Given>, notes: string[], problems: string[]): void {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw new InputError(`cannot read the configuration ${file}: ${(cause as Error).message}`, '--config FILE.yaml');
  }
  for (const { key, path, value, line } of readYaml(text, file, Object.keys(SECTIONS))) {
    const where = `line ${line}`;
    const section = path.length > 1 ? SECTIONS[path[0]!]! : undefined;
    const name = section?.[key] ?? (key in shape ? key : (ALIASES[key] ?? key));
    if (name in IGNORED) {
      notes.push(`${path.join('.')}: not used (${IGNORED[name]})`);
      continue;
    }
    if (!(name in shape)) {
      const near = nearest(key, [...KEYS, ...Object.keys(ALIASES)]);
      problems.push(row(path.join('.'), `unknown key${near ? `; did you mean ${near}?` : ''}`, where));
      continue;
    }
    if (value === null) continue;
    if (name !== path.join('.')) notes.push(`${path.join('.')}: read as ${name}`);
    if (given.has(name)) problems.push(row(name, `given twice, ${given.get(name)!.where} and here`, where));
    if (name === 'dtype' && (value === 'bfloat16' || value === 'float16')) {
      notes.push(`${path.join('.')}: ${String(value)} is taken as save_dtype (written weights); arithmetic is float32`);
      given.set('save_dtype', { value, where });
      continue;
    }
    given.set(name, { value: typeof value === 'string' ? scientific(name, value, notes) : value, where });
  }
}

/** YAML 1.1 readers take 5e-7 for a string, so files quote or write it so; only such text becomes a number. */
function scientific(name: string, value: string, notes: string[]): unknown {
  if (!isNumeric(name) || !/^[+-]?\d+(\.\d*)?e[+-]?\d+$/i.test(value)) return value;
  notes.push(`${name}: the text "${value}" is read as the number ${Number(value)}`);
  return Number(value);
}

const isNumeric = (name: string): boolean => {
  const type = shape[name as KeyName] as z.ZodType | undefined;
  return type !== undefined && type.safeParse('x').success === false && [0.25, 1, 2].some((n) => type.safeParse(n).success);
};

/** A flag's text as the key's type wants it; what does not convert is left for the schema to refuse. */
function fromText(name: string, value: string): unknown {
  const type = shape[name as KeyName] as z.ZodType | undefined;
  if (!type) return value;
  if (type.safeParse(value).success && name !== 'resume_from_checkpoint') return value;
  if (value === 'true' || value === 'false') return value === 'true';
  if (value !== '' && !Number.isNaN(Number(value)) && isNumeric(name)) return Number(value);
  if (value.startsWith('{')) {
    try {
      return JSON.parse(value) as unknown;
    } catch {
      return value;
    }
  }
  return value;
}

const row = (name: string, what: string, where: string): string => `${name.padEnd(28)} ${what}${where ? `   (${where})` : ''}`;

function issueText(issue: z.core.$ZodIssue, values: Record<string, unknown>, given: Map<string, Given>): string {
  const name = String(issue.path[0] ?? (issue as { keys?: string[] }).keys?.[0] ?? '');
  const got = values[name];
  if (issue.code === 'unrecognized_keys' && issue.path.length === 0) {
    const near = nearest(name, KEYS);
    return row(name, `unknown key${near ? `; did you mean ${near}?` : ''}`, given.get(name)?.where ?? '');
  }
  const message = issue.message.replace(/^Invalid (input|option): /, '').replace(/^Too (small|big): /, '').replace(/, received .*$/, '');
  return row(issue.path.join('.'), `${message}, got ${JSON.stringify(got)} (${Array.isArray(got) ? 'list' : typeof got})`, given.get(name)?.where ?? '');
}

/** Keys that exclude each other, and values that make no sense together. */
function contradictions(c: RunConfig, given: Map<string, Given>, command: Command): string[] {
  const found: string[] = [];
  const at = (name: string): string => given.get(name)?.where ?? '';
  const add = (name: string, what: string): void => void found.push(row(name, what, at(name)));
  const product = c.per_device_train_batch_size * c.gradient_accumulation_steps;
  if (c.total_batch_size !== undefined && (given.has('per_device_train_batch_size') || given.has('gradient_accumulation_steps')) && product !== c.total_batch_size) {
    add('total_batch_size', `is ${c.total_batch_size}, but per_device_train_batch_size × gradient_accumulation_steps is ${product}; give one of the two`);
  }
  if (c.criterion === 'deadzone' && c.criterion_deadzone === 0) add('criterion_deadzone', 'criterion deadzone needs a τ over 0');
  if (c.criterion !== 'deadzone' && c.criterion_deadzone > 0) add('criterion_deadzone', `has a meaning only with criterion: deadzone, got criterion: ${c.criterion}`);
  if (c.loss_type !== 'epsilon_dpo') {
    for (const name of ['epsilon', 'epsilon_check', 'epsilon_size', 'criterion', 'beta_update', 'beta_min'] as const) {
      if (given.has(name) && command === 'train') add(name, `belongs to loss_type: epsilon_dpo, got loss_type: ${c.loss_type}`);
    }
  }
  if (c.loss_type === 'sft' && command === 'train') add('loss_type', 'sft is the command edpo sft');
  if (c.max_length > 0 && c.max_prompt_length >= c.max_length && given.has('max_prompt_length')) add('max_prompt_length', `${c.max_prompt_length} leaves no room for a response within max_length ${c.max_length}`);
  if (c.load_best_model_at_end && c.eval_strategy === 'no') add('load_best_model_at_end', 'needs evaluations: set eval_strategy to steps or epoch');
  if (c.early_stopping_patience > 0 && c.eval_strategy === 'no') add('early_stopping_patience', 'needs evaluations: set eval_strategy to steps or epoch');
  if (c.lr_scheduler_type === 'cosine_with_min_lr' && c.lr_scheduler_kwargs?.min_lr === undefined && c.lr_scheduler_kwargs?.min_lr_rate === undefined) add('lr_scheduler_kwargs', 'cosine_with_min_lr needs min_lr or min_lr_rate');
  if (c.shard) {
    const [i, n] = c.shard.split('/').map(Number) as [number, number];
    if (!(n > 0 && i < n)) add('shard', `${c.shard}: i counts from 0 and lies below n`);
  }
  if (command !== 'plan' && command !== 'inspect' && c.model_name_or_path === undefined) add('model_name_or_path', 'is required');
  if (['train', 'sft', 'eval'].includes(command) && c.output_dir === undefined) add('output_dir', 'is required');
  for (const name of given.keys()) {
    const meta = META[name];
    if (meta && at(name).startsWith('--') && !meta.commands.includes(command)) add(name, `is not used by edpo ${command} (but by ${meta.commands.join(', ')})`);
  }
  return found;
}

/** The configuration as YAML, every key. */
export const resolvedYaml = (config: RunConfig): string => writeYaml(Object.fromEntries(KEYS.filter((k) => config[k] !== undefined).map((k) => [k, config[k]])));
/** Pairs of one optimiser step. */
export const totalBatch = (c: RunConfig): number => c.total_batch_size ?? c.per_device_train_batch_size * c.gradient_accumulation_steps;
