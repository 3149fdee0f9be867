import type { RunConfig } from '../../config/keys.js';
import { InputError } from '../../errors.js';
import type { Gpu } from '../../gpu/device.js';
import { commandJudge } from './command.js';
import { rewardJudge } from './reward/judge.js';
import type { Judge } from './types.js';

type Opener = (what: string, config: RunConfig, device: () => Promise<Gpu>) => Judge | Promise<Judge>;

/** The kinds of judges, by the word before the colon of `judge`. */
const KINDS: Record<string, Opener> = {
  command: (program) => commandJudge(program),
  reward: (folder, config, device) => rewardJudge(folder, device, config.token_budget),
};

/** Opens the judge that `judge: KIND:WHAT` names; what can be checked without a GPU is checked here. */
export async function openJudge(config: RunConfig, device: () => Promise<Gpu>): Promise<Judge> {
  const [, kind, what] = /^([a-z]+):(.+)$/s.exec(config.judge ?? '') ?? [];
  const open = KINDS[kind ?? ''];
  if (!open || what === undefined) throw new InputError(`judge: expected ${Object.keys(KINDS).map((k) => `${k}:…`).join(', ')}, got ${JSON.stringify(config.judge ?? null)}`, '--judge "command:node judge.mjs"');
  return open(what, config, device);
}
