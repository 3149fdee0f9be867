import { statSync } from 'node:fs';
import { z } from 'zod';
import { choicesOf, defaultOf, expectation } from '../config/expect.js';
import { COMMANDS, KEYS, META, schema, type Command, type KeyName } from '../config/keys.js';
import type { Purpose } from '../config/contradictions_types.js';
import { explainFile, explanationText } from '../config/explain.js';
import { ALIASES, IGNORED, UNAVAILABLE } from '../config/foreign.js';
import { loadConfig, resolvedYaml } from '../config/load.js';
import { nearest } from '../config/nearest.js';
import { own } from '../config/own.js';
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

function purposeOf(name = 'config'): Purpose {
  if (name !== 'config' && !COMMANDS.includes(name as Command)) throw new InputError(`--for: no command ${name} reads a configuration`, `one of ${COMMANDS.join(', ')}`);
  return name as Purpose;
}

/** A key's name is never taken for a file that happens to be called so. */
const isFile = (text: string): boolean => /\.(ya?ml|json)$/.test(text) || (!KEYS.includes(text as KeyName) && (text.includes('/') || statSync(text, { throwIfNoEntry: false })?.isFile() === true));

/** What becomes of a key of another trainer. */
function explainForeign(name: string): string | undefined {
  const [alias, ignored, unavailable] = [own(ALIASES, name), own(IGNORED, name), own(UNAVAILABLE, name)];
  if (alias !== undefined) return `read as ${alias}`;
  if (ignored !== undefined) return `not used (${ignored})`;
  return unavailable && `${unavailable.why}; only a value that asks for nothing is taken`;
}

/** `edpo config`: the resolved configuration, one key's meaning, or the JSON Schema. */
export async function run(file: string | undefined, o: ConfigOptions, io: CliIo): Promise<number> {
  if (o.schema) {
    io.out(JSON.stringify(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }), null, 2));
    return 0;
  }
  if (o.explain !== undefined) {
    const purpose = purposeOf(o.for);
    if (isFile(o.explain)) {
      const explanation = explainFile(o.explain, purpose);
      if (io.json) io.out(JSON.stringify(explanation));
      else for (const line of explanationText(explanation)) io.out(line);
      return 0;
    }
    const name = o.explain.replace(/^--/, '').replaceAll('-', '_') as KeyName;
    if (!KEYS.includes(name)) {
      const foreign = explainForeign(name);
      if (foreign !== undefined) {
        io.out(io.json ? JSON.stringify({ key: name, about: foreign }) : `${name}: ${foreign}`);
        return 0;
      }
      const near = nearest(name, KEYS);
      throw new InputError(`no key ${o.explain}`, near ? `did you mean ${near}?` : 'configs/reference.yaml lists every key');
    }
    const { about, commands, group } = META[name]!;
    const fallback = defaultOf(name);
    const others = Object.keys(ALIASES).filter((a) => ALIASES[a] === name);
    if (io.json) {
      io.out(JSON.stringify({ key: name, about, default: fallback ?? null, expects: expectation(name), values: choicesOf(name) ?? null, also_read_as: others, group, commands }));
      return 0;
    }
    io.out(`${name}: ${about}`);
    io.out(`default: ${fallback === undefined ? 'none' : JSON.stringify(fallback)}`);
    io.out(choicesOf(name) ? `values: ${choicesOf(name)!.join(', ')}` : `expects: ${expectation(name)}`);
    if (others.length > 0) io.out(`also read as: ${others.join(', ')}`);
    io.out(`group: ${group}; used by: ${commands.map((c) => `edpo ${c}`).join(', ')}`);
    return 0;
  }
  const purpose = purposeOf(o.for);
  const { config, notes, sources } = loadConfig({ file, flags: o.flags ?? {}, env: process.env, command: purpose });
  if (io.json) {
    const values = Object.fromEntries(KEYS.filter((k) => config[k] !== undefined).map((k) => [k, config[k]]));
    io.out(JSON.stringify({ config: values, sources: Object.fromEntries(Object.keys(values).map((k) => [k, sources[k] || 'default'])), notes }));
    return 0;
  }
  for (const note of notes) io.say(`note: ${note}`);
  io.out(resolvedYaml(config).trimEnd());
  return 0;
}
