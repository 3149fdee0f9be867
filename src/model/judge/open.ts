import { join } from 'node:path';
import type { CliIo } from '../../cli/io.js';
import type { RunConfig } from '../../config/keys.js';
import { InputError } from '../../errors.js';
import type { Gpu } from '../../gpu/device.js';
import { localModel } from '../hub/index.js';
import { commandJudge } from './command.js';
import { openaiJudge } from './openai/judge.js';
import type { OpenAIOptions } from './openai/options.js';
import { pairrmJudge } from './pairrm/judge.js';
import { rewardJudge } from './reward/judge.js';
import type { Judge } from './types.js';

type Opener = (what: string, config: RunConfig, device: () => Promise<Gpu>, io: CliIo, signal: AbortSignal) => Judge | Promise<Judge>;

/** How an endpoint is asked by this configuration; replies are kept beside the win rate. */
export const openaiOptions = (model: string, config: RunConfig, io: CliIo): OpenAIOptions => ({
  model, protocol: config.judge_protocol ?? 'alpaca-eval', order: config.judge_order === 'hashed' ? 'hashed' : 'given', cache: join(config.output_dir!, 'judge_cache.ndjson'), concurrency: config.judge_concurrency, note: (text) => io.say(`note: ${text}`),
  ...(config.judge_template === undefined ? {} : { template: config.judge_template }),
});

/** The kinds of judges, by the word before the colon of `judge`. */
const KINDS: Record<string, Opener> = {
  command: (program) => commandJudge(program),
  openai: (model, config, _device, io, signal) => openaiJudge({ ...openaiOptions(model, config, io), signal }),
  pairrm: async (model, config, device, io, signal) => pairrmJudge(await localModel(model, { offline: config.offline }, io), device, config.token_budget, signal, config.judge_dtype),
  reward: async (model, config, device, io) => rewardJudge(await localModel(model, { offline: config.offline }, io), device, config.token_budget),
};

/** Opens the judge that `judge: KIND:WHAT` names; what can be checked without a GPU is checked here. */
export async function openJudge(config: RunConfig, device: () => Promise<Gpu>, io: CliIo, signal: AbortSignal): Promise<Judge> {
  const [, kind, what] = /^([a-z]+):(.+)$/s.exec(config.judge ?? '') ?? [];
  const open = KINDS[kind ?? ''];
  if (!open || what === undefined) throw new InputError(`judge: expected ${Object.keys(KINDS).map((k) => `${k}:…`).join(', ')}, got ${JSON.stringify(config.judge ?? null)}`, '--judge "command:node judge.mjs"');
  return open(what, config, device, io, signal);
}
