import type { RunConfig } from '../config/keys.js';
import { InputError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import { loadFrozen } from '../model/frozen.js';
import { rows } from '../model/data/rows.js';
import { Generator, type GenerationRequest } from '../model/generate/generator.js';
import type { Parameters } from '../model/parameters.js';
import { requirePositions } from '../model/position_limit.js';
import { openDevice, openInputs, type Inputs } from '../model/session.js';
import { stopIds } from '../model/text/stop_ids.js';
import type { Message } from '../model/text/template.js';
import type { CliIo } from './io.js';
import { Progress } from './progress.js';

export interface PromptText {
  index: number;
  /** As the user gave it. */
  prompt: string | Message[];
  /** The dialogue that `prompt` shows as text, where the data have one. */
  turns?: Message[];
  ids: number[];
  /** Instead of the configuration's. */
  temperature?: number;
}

/** A prompt's ids: rendered with the chat template where there is one (a text is one user message), BOS once. */
export function promptIds(prompt: string | Message[], inputs: Inputs, maxPromptLength: number): number[] {
  const { tokenizer, template } = inputs;
  if (!template && typeof prompt !== 'string') throw new InputError('a dialogue (list of messages), but the tokenizer has no chat_template', '--chat_template FILE.jinja');
  const text = template ? template.render(typeof prompt === 'string' ? [{ role: 'user', content: prompt }] : prompt, true) : (prompt as string);
  const ids = tokenizer.encode(text);
  const bos = tokenizer.bosId !== undefined && (tokenizer.addBos || ids.length === 0);
  if (bos && ids[0] !== tokenizer.bosId) ids.unshift(tokenizer.bosId!);
  if (maxPromptLength === 0 || ids.length <= maxPromptLength) return ids;
  return bos ? [ids[0]!, ...ids.slice(ids.length - maxPromptLength + 1)] : ids.slice(ids.length - maxPromptLength);
}

/** An answer as text, with the tokens it was made of (the end token included where there was one). */
export interface Answer {
  index: number;
  output: string;
  tokens: number;
  finish: string;
  ids: number[];
}

/** Samples answers to prompts with the model on the GPU; `stopped` is asked now and then. With `reference` the model is realigned by the configuration's λ. */
export async function sampleAnswers(gpu: Gpu, weights: Parameters, prompts: PromptText[], config: RunConfig, inputs: Inputs, done: (answer: Answer) => void, stopped?: () => boolean, reference?: Parameters): Promise<void> {
  const requests: GenerationRequest[] = prompts.map(({ index, ids, temperature }) => ({ index, prompt: ids, ...(temperature === undefined ? {} : { temperature }) }));
  const { slots, length, rows: passRows } = generatorSizes(prompts, config);
  requirePositions(weights.spec, length, 'the longest prompt with max_new_tokens has', `a smaller --max_new_tokens (${config.max_new_tokens}) or --max_prompt_length`);
  const generator = await new Generator(gpu, weights, slots, length, passRows, reference && { reference, lambda: config.realign! }).ready();
  const options = { temperature: config.temperature, topP: config.top_p, topK: config.top_k, seed: config.seed, maxNewTokens: config.max_new_tokens, stopIds: stopIds(inputs.tokenizer, inputs.template) };
  await generator.run(requests, options, (g) =>
    done({ index: g.index, output: inputs.tokenizer.decode(g.ids, { skipSpecial: true }), tokens: g.ids.length, finish: g.finish, ids: g.stopId === undefined ? g.ids : [...g.ids, g.stopId] }), stopped);
}

/** Slots and lengths for these prompts. */
function generatorSizes(prompts: PromptText[], config: RunConfig): { slots: number; length: number; rows: number } {
  const longest = Math.max(...prompts.map((p) => p.ids.length));
  const slots = Math.min(config.batch_size, prompts.length);
  return { slots, length: longest + config.max_new_tokens, rows: Math.max(longest, slots, Math.min(config.token_budget, slots * longest)) };
}

/** `edpo generate`: answers as NDJSON on stdout; a single --prompt from a terminal prints the text. */
export async function run(config: RunConfig, io: CliIo): Promise<number> {
  if ((config.prompt === undefined) === (config.prompts_file === undefined)) throw new InputError('give either prompt or prompts_file', '--prompt "Once upon a time"');
  const inputs = await openInputs(config, io);
  const given: Array<string | Message[]> = [];
  if (config.prompt !== undefined) given.push(config.prompt);
  else {
    for await (const row of rows(config.prompts_file!)) {
      const { prompt } = row.value as { prompt?: unknown };
      if (typeof prompt !== 'string' && !Array.isArray(prompt)) throw new InputError(`${row.where}: column prompt (a text or messages) is missing`);
      given.push(prompt as string | Message[]);
      if (config.n_prompts > 0 && given.length >= config.n_prompts) break;
    }
  }
  const prompts = given.map((prompt, index) => ({ index, prompt, ids: promptIds(prompt, inputs, config.max_prompt_length) }));
  const gpu = await openDevice(config, io);
  const policy = await loadFrozen(gpu, inputs.policy, 'policy', config, { io });
  const reference = config.realign === undefined ? undefined : await loadFrozen(gpu, inputs.reference, 'reference', config, { io });
  const progress = new Progress(io, 'generate', prompts.length);
  const answers: string[] = [];
  let count = 0;
  await sampleAnswers(gpu, policy, prompts, config, inputs, ({ index, output, tokens, finish }) => {
    answers[index] = JSON.stringify({ index, prompt: prompts[index]!.prompt, output, tokens, finish });
    if (config.prompt !== undefined && process.stdout.isTTY) answers[index] = output;
    progress.update(++count);
  }, undefined, reference);
  for (const a of answers) io.out(a);
  gpu.close();
  return 0;
}
