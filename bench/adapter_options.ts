import { parseArgs, type ParseArgsConfig } from 'node:util';
import { InputError } from '../src/errors.js';
import type { ToggleSet } from '../src/gpu/device.js';

/** Options of the benchmarks of kernels and ceilings. */
export const ADAPTER_OPTIONS = { runs: { type: 'string', default: '5' }, adapter: { type: 'string' }, toggles: { type: 'string', default: 'production' }, out: { type: 'string' }, help: { type: 'boolean', default: false } } as const;

/** The flags of benchmark `name`. @throws InputError that names its help */
export function parseBench<T extends NonNullable<ParseArgsConfig['options']>>(name: string, args: string[], options: T) {
  try {
    return parseArgs({ args, strict: true, options }).values;
  } catch (cause) {
    throw new InputError((cause as Error).message.split('. ')[0]!, `npm run bench -- ${name} --help`, cause);
  }
}

/** --runs and --toggles as what they mean. @throws InputError */
export function checkedOptions(o: { runs: string; toggles: string }): { runs: number; toggles: ToggleSet } {
  const runs = Number(o.runs);
  if (!Number.isInteger(runs) || runs < 1) throw new InputError(`--runs ${o.runs}: expected a whole number from 1`);
  if (o.toggles !== 'production' && o.toggles !== 'checked') throw new InputError(`--toggles ${o.toggles}: expected production or checked`);
  return { runs, toggles: o.toggles };
}
