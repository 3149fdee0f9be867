import { InputError, InputErrors } from '../../errors.js';
import type { Answer, AnswerFile } from './answers.js';

/** The two answers of one comparison. `turn` counts from 1. */
export interface Match {
  /** Id of the question, or its text where the files have no ids; unique within the list (with `turn`). */
  key: string;
  turn: number;
  /** The user's turn; undefined where neither file has it. */
  prompt: string | undefined;
  output: string;
  baseline: string;
  category?: string;
  model: Answer;
  other: Answer;
}

const SHOWN = 3;
const short = (s: string): string => JSON.stringify(s.length > 60 ? `${s.slice(0, 57)}…` : s);
const list = (items: string[]): string => items.slice(0, SHOWN).join(', ') + (items.length > SHOWN ? ` and ${items.length - SHOWN} more` : '');
const joined = (a: Answer): string => a.prompts.join('\n');

/** Whether a file can be keyed by ids, by prompts. */
const keys = (file: AnswerFile): { id: boolean; prompt: boolean } => ({
  id: file.answers.every((a) => a.id !== undefined),
  prompt: file.answers.every((a) => a.prompts.length > 0),
});

/** Refuses a file in which an instruction (or id) comes twice; tells which and where. */
export function refuseDuplicates(file: AnswerFile, by: 'id' | 'prompt'): void {
  const seen = new Map<string, Answer>();
  const twice: string[] = [];
  for (const a of file.answers) {
    const key = by === 'id' ? a.id! : joined(a);
    const before = seen.get(key);
    if (before)
      twice.push(
        `${by === 'id' ? `id ${key}` : short(key)} (${before.where.replace(`${file.path} `, '')} and ${a.where.replace(`${file.path} `, '')})`,
      );
    else seen.set(key, a);
  }
  if (twice.length > 0)
    throw new InputError(
      `${file.path}: ${twice.length} duplicate ${by === 'id' ? 'ids' : 'instructions'}: ${list(twice)}`,
      'keep one answer each, or give every row its own id',
    );
}

/** Refuses empty outputs (nothing but white space) that the file does not mean to be so; tells how many and where. */
export function refuseEmpty(file: AnswerFile): void {
  const empty = file.answers.filter((a) => !a.mayBeEmpty && (a.outputs.length === 0 || a.outputs.some((o) => o.trim() === '')));
  if (empty.length > 0)
    throw new InputError(
      `${file.path}: ${empty.length} of ${file.answers.length} outputs are empty: ${list(empty.map((a) => a.where.replace(`${file.path} `, '')))}`,
      'sample them again or remove these rows from both files; a row that is meant to be empty says "empty": true',
    );
}

/**
 * Pairs a model's outputs with a baseline's, in the outputs' order, by id where both files have ids on every row, else by instruction.
 * One InputError each for: duplicate ids or instructions, empty outputs, outputs without a baseline and the reverse (which ones), the same id with
 * different instructions, a different number of turns.
 * @param allowEmpty keep empty outputs (a model may stop at once, and HH has empty chosen answers)
 */
export function matchAnswers(outputs: AnswerFile, baseline: AnswerFile, options: { allowEmpty?: boolean } = {}): Match[] {
  const [a, b] = [keys(outputs), keys(baseline)];
  const by = a.id && b.id ? 'id' : a.prompt && b.prompt ? 'prompt' : undefined;
  if (!by) {
    const has = (file: AnswerFile, k: { id: boolean; prompt: boolean }): string =>
      `${file.path} (${file.format}) has ${k.id ? 'ids' : k.prompt ? 'instructions' : 'neither ids nor instructions on every row'}`;
    throw new InputError(
      `outputs and baseline cannot be matched: ${has(outputs, a)}, ${has(baseline, b)}`,
      'both files need ids, or both instructions',
    );
  }
  for (const file of [outputs, baseline]) {
    refuseDuplicates(file, by);
    if (!options.allowEmpty) refuseEmpty(file);
  }
  const keyOf = (answer: Answer): string => (by === 'id' ? answer.id! : joined(answer));
  const name = (answer: Answer): string => (by === 'id' ? `id ${answer.id}` : short(joined(answer)));
  const others = new Map(baseline.answers.map((x) => [keyOf(x), x]));
  const own = new Set(outputs.answers.map(keyOf));
  const lone = outputs.answers.filter((x) => !others.has(keyOf(x)));
  const left = baseline.answers.filter((x) => !own.has(keyOf(x)));
  const problems = [
    ...(lone.length > 0 ? [`${lone.length} of ${outputs.answers.length} outputs have no baseline: ${list(lone.map(name))}`] : []),
    ...(left.length > 0 ? [`${left.length} of ${baseline.answers.length} baseline answers have no output: ${list(left.map(name))}`] : []),
  ];
  if (problems.length > 0)
    throw new InputErrors(
      `outputs and baseline do not match (${outputs.path}, ${baseline.path}):`,
      problems,
      'both files must answer the same instructions',
    );
  return outputs.answers.flatMap((model) => {
    const other = others.get(keyOf(model))!;
    if (model.prompts.length > 0 && other.prompts.length > 0 && joined(model) !== joined(other)) {
      throw new InputError(
        `outputs and baseline do not match: ${name(model)} is ${short(joined(model))} in ${model.where}, ${short(joined(other))} in ${other.where}`,
        'both files must answer the same instructions',
      );
    }
    if (model.outputs.length !== other.outputs.length)
      throw new InputError(
        `outputs and baseline do not match: ${name(model)} has ${model.outputs.length} turns in ${model.where}, ${other.outputs.length} in ${other.where}`,
      );
    const prompts = model.prompts.length > 0 ? model.prompts : other.prompts;
    const category = model.category ?? other.category;
    return model.outputs.map((output, i) => ({
      key: keyOf(model),
      turn: i + 1,
      prompt: prompts[i],
      output,
      baseline: other.outputs[i]!,
      ...(category === undefined ? {} : { category }),
      model,
      other,
    }));
  });
}
