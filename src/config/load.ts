import { InputErrors } from '../errors.js';
import { collect } from './collect.js';
import { contradictions } from './contradictions.js';
import { EPSILON_KEYS } from './contradictions_method.js';
import type { Purpose } from './contradictions_types.js';
import { KEYS, schema, type KeyName, type RunConfig } from './keys.js';
import { formatProblems, valueProblems } from './problems.js';
import { writeYaml } from './yaml.js';

export interface LoadOptions {
  file?: string | undefined;
  /** Flags as typed: key → text. */
  flags: Record<string, string>;
  /** Variables EDPO_KEY in it give defaults; absent: none do. */
  env?: Record<string, string | undefined>;
  /** The command to check for; `config` asks for no command's needs. */
  command: Purpose;
}

/**
 * Default < EDPO_KEY of the environment < YAML < flag. Unknown keys, wrong types, values out of range and contradictions are all reported at once.
 * @returns the frozen configuration and, per key of another trainer, a note of what was made of it; `sources`: where each given key was given.
 * @throws InputErrors with one line per problem; InputError where the file cannot be read as YAML.
 */
export function loadConfig(o: LoadOptions): { config: RunConfig; notes: string[]; sources: Record<string, string> } {
  const { given, notes, problems, bad } = collect(o.file, o.flags, o.env);
  const values: Record<string, unknown> = {};
  for (const [name, { value, where }] of given) {
    if (bad.has(name)) continue;
    const found = valueProblems(name as KeyName, value, where);
    problems.push(...found);
    if (found.length > 0) bad.add(name);
    else values[name] = value;
  }
  // Bad keys stand at their defaults here, so that the rest is checked in the same go.
  const config = schema.parse(values);
  const checked = contradictions(config, given, bad, o.command);
  problems.push(...checked.problems);
  if (problems.length > 0) {
    const n = problems.length;
    throw new InputErrors(`${o.file ?? 'the command line'} has ${n} problem${n > 1 ? 's' : ''}`, formatProblems(problems), 'edpo config --explain KEY says what a key means');
  }
  const sources = Object.fromEntries([...given].map(([name, { where }]) => [name, where]));
  return { config: Object.freeze(config), notes: [...notes, ...checked.notes], sources };
}

/**
 * The configuration as YAML; loading it again gives the same run. Left out are keys without a value, those of another
 * method, and defaults that a given key overrules (a batch size beside total_batch_size, a prompt limit above max_length).
 */
export function resolvedYaml(config: RunConfig): string {
  const out = new Set<KeyName>(KEYS.filter((k) => config[k] === undefined));
  if (config.loss_type !== 'epsilon_dpo') for (const k of EPSILON_KEYS) out.add(k);
  const product = config.per_device_train_batch_size * config.gradient_accumulation_steps;
  if (config.total_batch_size !== undefined && config.total_batch_size !== product) out.add('per_device_train_batch_size').add('gradient_accumulation_steps');
  if (config.max_length > 0 && config.max_prompt_length >= config.max_length) out.add('max_prompt_length');
  return writeYaml(Object.fromEntries(KEYS.filter((k) => !out.has(k)).map((k) => [k, config[k]])));
}
