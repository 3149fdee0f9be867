import { createHash } from 'node:crypto';
import type { RunConfig } from '../config/keys.js';
import { InputError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import { emptyMark, type Answer, type AnswerFile } from '../model/judge/answers.js';
import { mtBenchTemperature, type BenchmarkQuestion } from '../model/judge/questions.js';
import { openModel } from '../model/models.js';
import { openInputs } from '../model/session.js';
import type { Message } from '../model/text/template.js';
import { promptIds, type PromptText } from './generate.js';
import type { CliIo } from './io.js';
import { interruptedBy, sampled, type Sampling } from './sampled.js';

/** What the steps of one benchmark share. */
export interface Session {
  config: RunConfig;
  io: CliIo;
  dir: string;
  device: () => Promise<Gpu>;
  ending: AbortController;
}

export const ndjson = (rows: unknown[]): string => rows.map((r) => `${JSON.stringify(r)}\n`).join('');

/** Called as an answer to one turn of a question is there; both count from 0. */
export type OnTurn = (question: number, turn: number, output: string) => void;
/** Samples a model's answers, each turn of each handed on as it ends; ends early where nobody wants more. */
export type Sampler = (each: OnTurn, unwanted: () => boolean) => Promise<void>;

/** What a model is to answer: the benchmark's questions (the first `n_prompts` of them), every turn an empty text until `sampleBenchmark` has it. */
export function unanswered(config: RunConfig, folder: string, format: AnswerFile['format'], asked: Map<string, BenchmarkQuestion> | AnswerFile): AnswerFile {
  const questions: Array<Pick<Answer, 'id' | 'prompts' | 'category'>> = asked instanceof Map ? [...asked.values()] : asked.answers;
  if (questions.some((q) => q.prompts.length === 0)) throw new InputError(`${(asked as AnswerFile).path} holds answers without what was asked`, '--questions question.jsonl of the benchmark');
  if (config.category_temperatures && format !== 'mt-bench') throw new InputError('category_temperatures are MT-Bench’s', '--temperature NUMBER');
  const chosen = config.n_prompts > 0 ? questions.slice(0, config.n_prompts) : questions;
  return {
    path: folder, format,
    answers: chosen.map((q, i) => ({ ...(q.id === undefined ? {} : { id: q.id }), ...(q.category === undefined ? {} : { category: q.category }), prompts: q.prompts, outputs: q.prompts.map(() => ''), generator: folder, where: `${folder}, question ${q.id ?? i + 1}` })),
  };
}

/**
 * A model's own answers to a benchmark's questions, turn by turn, put into `file`; what `<name>.ndjson` (of later turns `<name>-turn2.ndjson`) holds is
 * kept. All turns are sampled at the configuration's temperature, or with category_temperatures at MT-Bench's.
 */
export async function sampleBenchmark(s: Omit<Sampling, 'inputs' | 'prompts'>, name: 'answers' | 'baseline', file: AnswerFile, each: OnTurn = () => undefined): Promise<void> {
  const folder = file.path;
  // Another seed: a model against itself must not be a comparison of equal answers.
  const config = name === 'answers' ? s.config : { ...s.config, seed: s.config.seed + 1, model_name_or_path: folder, adapter_name_or_path: undefined, realign: undefined };
  const inputs = await openInputs(config.realign === undefined ? { ...config, ref_model_name_or_path: undefined } : config, s.io);
  const model = name === 'answers' ? inputs.policy : (await openModel(folder, { offline: config.offline }, s.io)).folder;
  const { answers } = file;
  for (let turn = 0; answers.some((q) => q.prompts.length > turn); turn++) {
    const prompts: PromptText[] = answers.flatMap((q, index) => {
      if (q.prompts.length <= turn) return [];
      const before: Message[] = q.prompts.slice(0, turn).flatMap((p, t) => [{ role: 'user', content: p }, { role: 'assistant', content: q.outputs[t]! }]);
      const prompt = turn === 0 ? q.prompts[0]! : [...before, { role: 'user', content: q.prompts[turn]! }];
      return [{ index, prompt, ids: promptIds(prompt, inputs, config.max_prompt_length), ...(config.category_temperatures ? { temperature: mtBenchTemperature(q) } : {}) }];
    });
    const full: Sampling = { ...s, config, inputs, prompts };
    await sampled(full, turn === 0 ? name : `${name}-turn${turn + 1}`, model, ({ index, output }) => {
      answers[index]!.outputs[turn] = output;
      each(index, turn, output);
    });
    interruptedBy(full);
  }
}

/** Answers as the benchmark's own tools read them: AlpacaEval's array, else lines (user-anchors 5.3 to 5.5). Ids are hashes, so the same answers give the same bytes. */
export function answerFileText({ format, answers }: AnswerFile): string {
  if (format === 'alpaca-eval' || format === 'plain') {
    return `${JSON.stringify(answers.map((a) => ({ instruction: a.prompts[0], output: a.outputs[0], generator: a.generator, dataset: a.category ?? 'alpaca_eval', ...emptyMark(a.outputs[0]!) })), null, 2)}\n`;
  }
  return answers.map((a) => {
    const id = createHash('sha256').update(JSON.stringify([a.id, a.generator, a.outputs])).digest('hex').slice(0, 22);
    const marked = a.outputs.map(emptyMark).find((m) => m.empty) ?? {};
    if (format === 'arena-hard-v2') {
      const messages = a.outputs.flatMap((o, t) => [{ role: 'user', content: a.prompts[t] }, { role: 'assistant', content: { answer: o } }]);
      return `${JSON.stringify({ uid: a.id, ans_id: id, model: a.generator, messages, ...marked })}\n`;
    }
    const turns = format === 'mt-bench' ? a.outputs : a.outputs.map((content) => ({ content }));
    return `${JSON.stringify({ question_id: Number.isInteger(Number(a.id)) ? Number(a.id) : a.id, answer_id: id, model_id: a.generator, choices: [{ index: 0, turns }], ...marked })}\n`;
  }).join('');
}
