import { existsSync, statSync } from 'node:fs';
import type { RunConfig } from '../config/keys.js';
import { mixesEvaluation } from '../config/mixture.js';
import { InputError } from '../errors.js';
import type { Example } from '../model/data/formats.js';
import { hhDialogue } from '../model/data/hh.js';
import { openSource } from '../model/data/source.js';
import { isHubId } from '../model/hub/index.js';
import { readAnswers, type Answer } from '../model/judge/answers.js';
import { refuseDuplicates, refuseEmpty } from '../model/judge/match.js';
import { singleTurnPrompts } from '../model/judge/single_turn.js';
import { openSplit, type Inputs } from '../model/session.js';
import type { Message } from '../model/text/template.js';
import { promptIds, type PromptText } from './generate.js';
import type { CliIo } from './io.js';

/** What a win rate is asked of: prompts, and the data's chosen answers by the prompts' row numbers. */
export interface Prompts {
  prompts: PromptText[];
  chosen: Map<number, string>;
}

const promptText = (e: Example): string =>
  typeof e.prompt === 'string' ? e.prompt : e.prompt.map((m) => (typeof m === 'number' ? String(m) : m.role === 'user' && e.prompt.length === 1 ? m.content : `${m.role}: ${m.content}`)).join(e.kind === 'ids' ? ' ' : '\n');
/** An Anthropic-HH prompt is a dialogue also where a model without a chat template reads it as text. */
function turnsOf(e: Example): Message[] | undefined {
  if (e.kind === 'chat') return e.prompt;
  return e.kind === 'text' && e.prompt.startsWith('\n\nHuman:') && e.prompt.endsWith('\n\nAssistant:') ? hhDialogue(e.prompt) : undefined;
}
const answerText = (e: Example): string => (typeof e.chosen === 'string' ? e.chosen : e.chosen.map((m) => (typeof m === 'number' ? String(m) : m.content)).join('\n')).trim();

/** Does the data set have a test split? A file is taken whole. */
const hasFolder = ({ dataset_name: name, data_files: files }: RunConfig): boolean => name !== undefined && !files && (isHubId(name) || (existsSync(name) && statSync(name).isDirectory()));

/** The first n_prompts of the evaluation data; with `single_turn` those of the papers' Anthropic-HH protocol. */
export async function openPrompts(config: RunConfig, inputs: Inputs, io: CliIo): Promise<Prompts> {
  const split = hasFolder(config) || mixesEvaluation(config) ? 'eval' : 'train';
  const found = config.single_turn ? await singleTurn(config, inputs, split, io) : await pairs(config, inputs, split, io);
  const prompts = config.n_prompts > 0 ? found.prompts.slice(0, config.n_prompts) : found.prompts;
  if (prompts.length === 0) throw new InputError('the data have no prompt to ask', config.single_turn ? 'single_turn takes Anthropic-HH dialogues with one human turn' : 'edpo inspect shows what was read');
  return { prompts, chosen: new Map(prompts.map((p) => [p.index, found.chosen.get(p.index)!])) };
}

async function pairs(config: RunConfig, inputs: Inputs, split: 'train' | 'eval', io: CliIo): Promise<Prompts> {
  const store = await openSplit(config, inputs, split, 2, io, true, false);
  const prompts = Array.from({ length: store.count }, (_, i) => {
    const turns = turnsOf(store.texts[i]!);
    return { index: store.ids[i]!, prompt: promptText(store.texts[i]!), ...(turns ? { turns } : {}), ids: [...store.get(i).prompt] };
  });
  const chosen = new Map(prompts.map((p, i) => [p.index, answerText(store.texts[i]!)]));
  store.close();
  return { prompts, chosen };
}

/** Every row with one human turn, duplicates, empty chosen answers and rows the trainer would drop among them, as the papers count them. */
async function singleTurn(config: RunConfig, inputs: Inputs, split: 'train' | 'eval', io: CliIo): Promise<Prompts> {
  const given: Array<{ chosen: string; rejected: string }> = [];
  const numbers: number[] = [];
  for await (const { value, where, id } of (await openSource(config, split, io)).rows()) {
    const { chosen, rejected } = value;
    if (typeof chosen !== 'string' || typeof rejected !== 'string') throw new InputError(`${where}: single_turn reads Anthropic-HH rows (texts chosen and rejected)`, 'leave --single_turn out for other data');
    numbers.push(id ?? given.length);
    given.push({ chosen, rejected });
  }
  const found = singleTurnPrompts(given).map((p) => ({ ...p, index: numbers[p.index]! }));
  io.say(`prompts: ${found.length} of ${given.length} rows have one human turn`);
  // A model without a chat template continues the dialogue itself.
  const prompts = found.map((p) => ({ index: p.index, prompt: p.prompt, ids: promptIds(inputs.template ? p.prompt : p.dialogue, inputs, config.max_prompt_length) }));
  return { prompts, chosen: new Map(found.map((p) => [p.index, p.chosen])) };
}

const short = (text: string): string => JSON.stringify(text.length > 60 ? `${text.slice(0, 57)}…` : text);

/**
 * Answers from a file of any format `readAnswers` knows: by row number, by instruction, else in the prompts' order. One InputError each for a row
 * number that comes twice, answers to nothing that is asked, prompts without an answer, and empty answers that edpo did not sample itself.
 * @param partial the prompts are the first ones only, so the file may hold more
 */
export async function fileAnswers(path: string, prompts: PromptText[], partial = false): Promise<Map<number, string>> {
  if (!existsSync(path)) throw new InputError(`answers ${path}: no such file or folder`);
  const file = await readAnswers(path);
  if (file.answers.every((a) => a.id !== undefined)) refuseDuplicates(file, 'id');
  refuseEmpty(file);
  const byIndex = new Map(prompts.map((p) => [String(p.index), p.index]));
  const byText = new Map<string, number[]>();
  for (const p of prompts) byText.set(p.prompt as string, [...(byText.get(p.prompt as string) ?? []), p.index]);
  const found = new Map<number, string>();
  const lone: Answer[] = [];
  file.answers.forEach((a, i) => {
    const at = a.id !== undefined ? byIndex.get(a.id) : a.prompts.length > 0 ? byText.get(a.prompts[0]!)?.shift() : prompts[i]?.index;
    if (at === undefined) lone.push(a);
    else found.set(at, a.outputs[0]!);
  });
  const missing = prompts.filter((p) => !found.has(p.index));
  const problems = [
    ...(missing.length > 0 ? [`${path} has no answer for ${missing.length} of ${prompts.length} prompts (first: row ${missing[0]!.index}, ${short(missing[0]!.prompt as string)})`] : []),
    ...(lone.length > 0 && !partial ? [`${lone.length} of its ${file.answers.length} answers belong to none of the prompts, or come once too often (first: ${lone[0]!.where}, ${lone[0]!.id === undefined ? short(lone[0]!.prompts[0] ?? lone[0]!.outputs[0]!) : `row ${lone[0]!.id}`})`] : []),
  ];
  if (problems.length > 0) throw new InputError(problems.join('; '), 'answers are matched by index, by instruction, or by order where they have neither');
  return found;
}
