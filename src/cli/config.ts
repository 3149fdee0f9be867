import { z } from 'zod';
import { choicesOf, defaultOf, expectation } from '../config/expect.js';
import { COMMANDS, KEYS, META, schema, type Command, type KeyName } from '../config/keys.js';
import { ALIASES } from '../config/foreign.js';
import { loadConfig, resolvedYaml } from '../config/load.js';
import { nearest } from '../config/nearest.js';
import { InputError } from '../errors.js';
import type { CliIo } from './io.js';

export interface ConfigOptions {
  explain?: string;
  schema?: boolean;
  /** Check the configuration as this command would. */
  for?: string;
  /** Keys given as flags. */
  flags?: Record<string, string>;
}

/** `edpo config`: the resolved configuration, one key's meaning, or the JSON Schema. */
export async function run(file: string | undefined, o: ConfigOptions, io: CliIo): Promise<number> {
  if (o.schema) {
    io.out(JSON.stringify(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }), null, 2));
    return 0;
  }
  if (o.explain !== undefined) {
    const name = o.explain.replace(/^--/, '').replaceAll('-', '_') as KeyName;
    if (!KEYS.includes(name)) {
      const near = nearest(name, KEYS);
      throw new InputError(`no key ${o.explain}`, near ? `did you mean ${near}?` : 'configs/reference.yaml lists every key');
    }
    const { about, commands, group } = META[name]!;
    const fallback = defaultOf(name);
    io.out(`${name}: ${about}`);
    io.out(`default: ${fallback === undefined ? 'none' : JSON.stringify(fallback)}`);
    io.out(choicesOf(name) ? `values: ${choicesOf(name)!.join(', ')}` : `expects: ${expectation(name)}`);
    const others = Object.keys(ALIASES).filter((a) => ALIASES[a] === name);
    if (others.length > 0) io.out(`also read as: ${others.join(', ')}`);
    io.out(`group: ${group}; used by: ${commands.map((c) => `edpo ${c}`).join(', ')}`);
    return 0;
  }
  const purpose = o.for ?? 'config';
  if (purpose !== 'config' && !COMMANDS.includes(purpose as Command)) throw new InputError(`--for: no command ${purpose} reads a configuration`, `one of ${COMMANDS.join(', ')}`);
  const { config, notes } = loadConfig({ file, flags: o.flags ?? {}, command: purpose as Command | 'config' });
  for (const note of notes) io.say(`note: ${note}`);
  io.out(resolvedYaml(config).trimEnd());
  return 0;
}
