import { InputError } from '../../errors.js';
import { rows } from '../data/rows.js';
import type { AnswerFile } from './answers.js';

/** A benchmark's question: its turns as the user says them. */
export interface BenchmarkQuestion {
  id: string;
  category?: string;
  prompts: string[];
  /** Reference answers by turn (MT-Bench: math, reasoning, coding). */
  reference?: string[];
}

/** MT-Bench's eight categories, ten questions each from question 81 (lm-sys/FastChat, data/mt_bench/question.jsonl). */
export const MT_BENCH_CATEGORIES = ['writing', 'roleplay', 'reasoning', 'math', 'coding', 'extraction', 'stem', 'humanities'] as const;

/** Category of an MT-Bench question 81 to 160; undefined for another id. */
export function mtBenchCategory(id: string | number): string | undefined {
  return MT_BENCH_CATEGORIES[Math.floor((Number(id) - 81) / 10)];
}

/** Temperatures that FastChat samples MT-Bench's categories at. */
const MT_BENCH_TEMPERATURES: Record<string, number> = { writing: 0.7, roleplay: 0.7, reasoning: 0, math: 0, coding: 0, extraction: 0, stem: 0.1, humanities: 0.1 };

/** Temperature of an MT-Bench question. Throws InputError for a category that MT-Bench does not have. */
export function mtBenchTemperature(q: { id?: string; category?: string }): number {
  const category = q.category ?? mtBenchCategory(q.id ?? '');
  const temperature = MT_BENCH_TEMPERATURES[category ?? ''];
  if (temperature === undefined) throw new InputError(`category_temperatures: question ${q.id ?? '(no id)'} has ${category === undefined ? 'no category' : `the category ${category}`}; MT-Bench has ${MT_BENCH_CATEGORIES.join(', ')}`, 'leave category_temperatures out and say --temperature');
  return temperature;
}

/** Reads question.jsonl of MT-Bench and Arena-Hard v0.1 ({question_id, category, turns}, turns as texts or {content}) or v2 ({uid, category, prompt}). */
export async function readQuestions(path: string): Promise<Map<string, BenchmarkQuestion>> {
  const questions = new Map<string, BenchmarkQuestion>();
  for await (const { value, where } of rows(path)) {
    const id = value['question_id'] ?? value['uid'];
    if (typeof id !== 'string' && typeof id !== 'number')
      throw new InputError(`${where}: question_id or uid is missing; it has ${Object.keys(value).join(', ') || 'no columns'}`);
    const turns: unknown[] = Array.isArray(value['turns'])
      ? value['turns'].map((t: unknown) => (typeof t === 'object' && t !== null ? (t as { content?: unknown }).content : t))
      : [value['prompt']];
    if (turns.length === 0 || !turns.every((t) => typeof t === 'string'))
      throw new InputError(`${where}: expected turns (a list of texts) or prompt (a text)`);
    if (questions.has(String(id))) throw new InputError(`${where}: question ${id} comes twice`, 'remove one of the two');
    const { category, reference } = value;
    questions.set(String(id), {
      id: String(id),
      prompts: turns as string[],
      ...(typeof category === 'string' ? { category } : {}),
      ...(Array.isArray(reference) ? { reference: reference.map(String) } : {}),
    });
  }
  if (questions.size === 0) throw new InputError(`${path} holds no questions`);
  return questions;
}

/** Whose question file it is: uid is Arena-Hard v2's; several turns are MT-Bench's. */
export async function questionFormat(path: string): Promise<'arena-hard-v0.1' | 'arena-hard-v2' | 'mt-bench'> {
  for await (const { value } of rows(path)) {
    if ('uid' in value) return 'arena-hard-v2';
    return Array.isArray(value['turns']) && value['turns'].length > 1 ? 'mt-bench' : 'arena-hard-v0.1';
  }
  throw new InputError(`${path} holds no questions`);
}

/** The same answers with prompts and categories from the questions; an answer to no question of the file is an InputError. */
export function withQuestions(file: AnswerFile, questions: Map<string, BenchmarkQuestion>): AnswerFile {
  const unknown = file.answers.filter((a) => a.id === undefined || !questions.has(a.id));
  if (unknown.length > 0)
    throw new InputError(
      `${file.path}: ${unknown.length} of ${file.answers.length} answers belong to no question of the question file (first: ${unknown[0]!.where}, id ${unknown[0]!.id ?? 'missing'})`,
      'give the question file of the same benchmark and version',
    );
  return {
    ...file,
    answers: file.answers.map((a) => {
      const q = questions.get(a.id!)!;
      if (a.outputs.length > q.prompts.length)
        throw new InputError(`${a.where}: ${a.outputs.length} turns answered, but question ${q.id} has ${q.prompts.length}`);
      return { ...a, prompts: q.prompts, ...(q.category === undefined ? {} : { category: q.category }) };
    }),
  };
}
