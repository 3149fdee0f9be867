import { z } from 'zod';
import { KEYS, META, schema, shape, type KeyName } from '../config/keys.js';
import { loadConfig, resolvedYaml } from '../config/load.js';
import { nearest } from '../config/nearest.js';
import { InputError } from '../errors.js';
import type { CliIo } from './io.js';

/** `edpo config`: the resolved configuration, one key's meaning, or the JSON Schema. */
export async function run(file: string | undefined, o: { explain?: string; schema?: boolean }, io: CliIo): Promise<number> {
  if (o.schema) {
    io.out(JSON.stringify(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }), null, 2));
    return 0;
  }
  if (o.explain !== undefined) {
    const name = o.explain as KeyName;
    if (!KEYS.includes(name)) {
      const near = nearest(o.explain, KEYS);
      throw new InputError(`no key ${o.explain}`, near ? `did you mean ${near}?` : 'configs/reference.yaml lists every key');
    }
    const { about, commands, group } = META[name]!;
    const fallback = shape[name].safeParse(undefined);
    const json = z.toJSONSchema(shape[name], { io: 'input', unrepresentable: 'any' }) as Record<string, unknown>;
    io.out(`${name}: ${about}`);
    io.out(`default: ${fallback.success ? JSON.stringify(fallback.data) ?? 'none' : 'none, required'}`);
    if (json['enum']) io.out(`values: ${(json['enum'] as string[]).join(', ')}`);
    io.out(`group: ${group}; used by: ${commands.map((c) => `edpo ${c}`).join(', ')}`);
    return 0;
  }
  const { config, notes } = loadConfig({ file, flags: {}, command: 'plan' });
  for (const note of notes) io.say(`note: ${note}`);
  io.out(resolvedYaml(config).trimEnd());
  return 0;
}
