import { InputError } from '../../errors.js';
import { rows, type Row } from '../data/rows.js';

/** One row of AlpacaEval's annotations.json: output_1 is the baseline's, output_2 the model's. */
export interface AlpacaAnnotation {
  instruction: string;
  output_1: string;
  output_2: string;
  generator_1?: string;
  generator_2?: string;
  /** 1 to 2; null where the judge gave none. */
  preference: number | null;
}

/** Two games of Arena-Hard: the label of each, in the judge's words (A is the baseline in the first, the model in the second). */
export interface ArenaJudgment {
  question: string;
  model: string;
  baseline?: string;
  category?: string;
  games: [string | undefined, string | undefined];
}

/** MT-Bench's single grading of one turn; undefined: no rating (stored as -1). */
export interface MtBenchRating {
  question: string;
  model: string;
  turn: number;
  score: number | undefined;
}

/** MT-Bench's pairwise judgment of one turn: the winner of each game by model, 'tie' or 'error'. */
export interface MtBenchPair {
  question: string;
  turn: number;
  model_1: string;
  model_2: string;
  games: [string, string];
}

const need = (row: Row, ...names: string[]): string => {
  for (const n of names) {
    const v = row.value[n];
    if (typeof v === 'string' || typeof v === 'number') return String(v);
  }
  throw new InputError(`${row.where}: ${names.join(' or ')} is missing; it has ${Object.keys(row.value).join(', ') || 'no columns'}`);
};
const optional = (row: Row, name: string): { [k: string]: string } => (typeof row.value[name] === 'string' ? { [name]: row.value[name] } : {});

async function all<T>(path: string, what: string, read: (row: Row) => T): Promise<T[]> {
  const found: T[] = [];
  for await (const row of rows(path)) found.push(read(row));
  if (found.length === 0) throw new InputError(`${path} holds no ${what}`);
  return found;
}

/** Reads AlpacaEval's annotations (an array or lines). A preference that is neither a number nor null is an InputError. */
export const readAnnotations = (path: string): Promise<AlpacaAnnotation[]> =>
  all(path, 'annotations', (row) => {
    const preference = row.value['preference'] ?? null;
    if (preference !== null && typeof preference !== 'number')
      throw new InputError(`${row.where}: preference must be a number from 1 to 2 or null, got ${JSON.stringify(preference)}`);
    return {
      instruction: need(row, 'instruction'),
      output_1: need(row, 'output_1'),
      output_2: need(row, 'output_2'),
      ...optional(row, 'generator_1'),
      ...optional(row, 'generator_2'),
      preference,
    };
  });

/** Reads Arena-Hard's judgments, v0.1 (question_id) and v2 (uid). A game that is null or has no score counts as invalid. */
export const readArenaJudgments = (path: string): Promise<ArenaJudgment[]> =>
  all(path, 'judgments', (row) => {
    const games = row.value['games'];
    if (!Array.isArray(games)) throw new InputError(`${row.where}: games must be a list, got ${JSON.stringify(games) ?? 'nothing'}`);
    const label = (g: unknown): string | undefined => {
      const score = (g as { score?: unknown } | null | undefined)?.score;
      return typeof score === 'string' ? score : undefined;
    };
    return {
      question: need(row, 'question_id', 'uid'),
      model: need(row, 'model'),
      ...optional(row, 'baseline'),
      ...optional(row, 'category'),
      games: [label(games[0]), label(games[1])],
    };
  });

/** Reads MT-Bench's single gradings ({judge}_single.jsonl). A score of -1 is no rating. */
export const readMtBenchRatings = (path: string): Promise<MtBenchRating[]> =>
  all(path, 'ratings', (row) => {
    const score = row.value['score'];
    if (typeof score !== 'number')
      throw new InputError(
        `${row.where}: score must be a number, got ${JSON.stringify(score) ?? 'nothing'}`,
        'single gradings are in the files *_single.jsonl',
      );
    return {
      question: need(row, 'question_id'),
      model: need(row, 'model'),
      turn: Number(row.value['turn'] ?? 1),
      score: score === -1 ? undefined : score,
    };
  });

/** Reads MT-Bench's pairwise judgments ({judge}_pair.jsonl). */
export const readMtBenchPairs = (path: string): Promise<MtBenchPair[]> =>
  all(path, 'judgments', (row) => {
    const names = { model_1: need(row, 'model_1'), model_2: need(row, 'model_2') };
    const winner = (n: string): string => {
      const w = need(row, n);
      return w === 'model_1' || w === 'model_2' ? names[w] : w === 'tie' ? 'tie' : 'error';
    };
    return { question: need(row, 'question_id'), turn: Number(row.value['turn'] ?? 1), ...names, games: [winner('g1_winner'), winner('g2_winner')] };
  });
