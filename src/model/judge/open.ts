import type { RunConfig } from '../../config/keys.js';
import { InputError } from '../../errors.js';
import { commandJudge } from './command.js';
import type { Judge } from './types.js';

/** The kinds of judges, by the word before the colon of `judge`. */
const KINDS: Record<string, (what: string) => Judge | Promise<Judge>> = {
  command: commandJudge,
};

/** Opens the judge that `judge: KIND:WHAT` names. */
export async function openJudge(config: RunConfig): Promise<Judge> {
  const [, kind, what] = /^([a-z]+):(.+)$/s.exec(config.judge ?? '') ?? [];
  const open = KINDS[kind ?? ''];
  if (!open || what === undefined) throw new InputError(`judge: expected ${Object.keys(KINDS).map((k) => `${k}:…`).join(', ')}, got ${JSON.stringify(config.judge ?? null)}`, '--judge "command:node judge.mjs"');
  return open(what);
}
