import { InputError } from '../../errors.js';
import { rows, type Row } from '../data/rows.js';

export const ANSWER_FORMATS = ['alpaca-eval', 'arena-hard-v0.1', 'arena-hard-v2', 'mt-bench', 'plain'] as const;
export type AnswerFormat = (typeof ANSWER_FORMATS)[number];

/** A model's answer to one question, of one turn or more. */
export interface Answer {
  /** question_id, uid, id or index as text; absent where the file gives none (AlpacaEval's order is no id). */
  id?: string;
  /** The user's turns; empty where the file holds answers alone (Arena-Hard v0.1, MT-Bench: see `withQuestions`). */
  prompts: string[];
  /** One output a turn. */
  outputs: string[];
  generator?: string;
  category?: string;
  /** Tokens and markdown counts, where Arena-Hard wrote them. */
  style?: AnswerStyle;
  /** An empty output is what was said: the row has `"empty": true`, or edpo sampled it (answers.ndjson). */
  mayBeEmpty?: true;
  /** File and line, for messages. */
  where: string;
}

/** Arena-Hard v2's `metadata`: tokens, and headers, list items and bold words of an answer. */
export interface AnswerStyle {
  tokens: number;
  headers: number;
  lists: number;
  bold: number;
}

/** What a row of an answer file says of an output that is empty because that is what was said. */
export const emptyMark = (output: string): { empty?: true } => (output.trim() === '' ? { empty: true } : {});

export interface AnswerFile {
  path: string;
  format: AnswerFormat;
  answers: Answer[];
}

type Fields = Record<string, unknown>;
const isObject = (v: unknown): v is Fields => typeof v === 'object' && v !== null && !Array.isArray(v);
const firstTurn = (value: Fields): unknown => {
  const choice: unknown = Array.isArray(value['choices']) ? value['choices'][0] : undefined;
  return isObject(choice) && Array.isArray(choice['turns']) ? choice['turns'][0] : undefined;
};

/**
 * Finds the format of a file of answers from one row's keys (user-anchors 5.3 to 5.5):
 * `choices[0].turns` of texts is MT-Bench, of {content} Arena-Hard v0.1; `messages` with a uid or ans_id Arena-Hard v2;
 * instruction and output AlpacaEval; prompt or index or id and output plain lines. Undefined for anything else.
 */
export function detectAnswers(value: Fields): AnswerFormat | undefined {
  const turn = firstTurn(value);
  if (typeof turn === 'string') return 'mt-bench';
  if (isObject(turn) && 'content' in turn) return 'arena-hard-v0.1';
  if (Array.isArray(value['messages']) && ('uid' in value || 'ans_id' in value)) return 'arena-hard-v2';
  if ('instruction' in value && 'output' in value) return 'alpaca-eval';
  if ('output' in value) return 'plain';
  return undefined;
}

function text(row: Row, name: string, value: unknown = row.value[name]): string {
  if (typeof value !== 'string')
    throw new InputError(`${row.where}: ${name} must be a text, got ${value === undefined ? 'nothing' : JSON.stringify(value)?.slice(0, 60)}`);
  return value;
}
const named = (row: Row, ...names: string[]): string | undefined => {
  for (const n of names) {
    const v = row.value[n];
    if (typeof v === 'string' || typeof v === 'number' || typeof v === 'bigint') return String(v);
  }
  return undefined;
};
const defined = <T extends object>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined> } =>
  Object.fromEntries(Object.entries(fields).filter(([, v]) => v !== undefined)) as never;

function choices(row: Row, format: 'mt-bench' | 'arena-hard-v0.1'): Answer {
  const id = named(row, 'question_id');
  if (id === undefined) throw new InputError(`${row.where}: question_id is missing`);
  const turns = ((row.value['choices'] as unknown[])[0] as Fields)['turns'] as unknown[];
  const outputs = turns.map((t, i) => text(row, `turn ${i + 1}`, isObject(t) ? t['content'] : t));
  return { ...defined({ id, generator: named(row, 'model_id'), category: named(row, 'category') }), prompts: [], outputs, where: row.where };
}

const total = (v: unknown): number =>
  typeof v === 'number' ? v : isObject(v) ? Object.values(v).reduce<number>((a, b) => a + (typeof b === 'number' ? b : NaN), 0) : NaN;

function messages(row: Row): Answer {
  const id = named(row, 'uid');
  if (id === undefined) throw new InputError(`${row.where}: uid is missing`);
  const prompts: string[] = [];
  const outputs: string[] = [];
  for (const m of row.value['messages'] as unknown[]) {
    if (!isObject(m)) throw new InputError(`${row.where}: messages must be a list of {role, content}`);
    const content = isObject(m['content']) ? m['content']['answer'] : m['content'];
    if (m['role'] === 'user') prompts.push(text(row, 'a user message', content));
    if (m['role'] === 'assistant') outputs.push(text(row, 'an assistant message', content));
  }
  if (outputs.length === 0) throw new InputError(`${row.where}: messages hold no answer of the assistant`);
  const meta = row.value['metadata'];
  const style = isObject(meta)
    ? { tokens: total(meta['token_len']), headers: total(meta['header_count']), lists: total(meta['list_count']), bold: total(meta['bold_count']) }
    : undefined;
  return { ...defined({ id, generator: named(row, 'model'), category: named(row, 'category'), style }), prompts, outputs, where: row.where };
}

/** Reads one row of a known format; a row of another shape is an InputError that names the line and both formats. */
export function readAnswer(row: Row, format: AnswerFormat): Answer {
  const found = detectAnswers(row.value);
  // A plain file may also carry instructions; every other format is told by its keys.
  if (found !== format && !(format === 'plain' && found === 'alpaca-eval')) {
    throw new InputError(
      `${row.where}: expected a row of the format ${format} as in the first row, got ${found ?? `columns ${Object.keys(row.value).join(', ') || 'none'}`}`,
    );
  }
  if (format === 'mt-bench' || format === 'arena-hard-v0.1') return choices(row, format);
  if (format === 'arena-hard-v2') return messages(row);
  const input = row.value['input'];
  if (format === 'alpaca-eval') {
    const instruction = text(row, 'instruction') + (typeof input === 'string' && input !== '' ? `\n\n${input}` : '');
    return {
      prompts: [instruction],
      outputs: [text(row, 'output')],
      ...defined({ generator: named(row, 'generator'), category: named(row, 'dataset', 'category') }),
      where: row.where,
    };
  }
  const prompt = row.value['prompt'] ?? row.value['instruction'];
  const id = named(row, 'id', 'index', 'question_id', 'uid');
  if (prompt === undefined && id === undefined)
    throw new InputError(`${row.where}: expected prompt, instruction, id or index beside output; it has ${Object.keys(row.value).join(', ')}`);
  return {
    ...defined({ id, generator: named(row, 'generator', 'model'), category: named(row, 'category', 'dataset') }),
    prompts: prompt === undefined ? [] : [text(row, 'prompt', prompt)],
    outputs: [text(row, 'output')],
    where: row.where,
  };
}

/**
 * Reads a file of answers (.jsonl, .ndjson, .json, .parquet, the first three also .gz), its format found from the first row. A first line that is a
 * header of edpo's own answer files ({weights, sampling}) is passed over. A broken line, an unknown or mixed format and an empty file are InputErrors.
 */
export async function readAnswers(path: string): Promise<AnswerFile> {
  let format: AnswerFormat | undefined;
  const answers: Answer[] = [];
  let first = true;
  let sampled = false;
  for await (const row of rows(path)) {
    const header = first && !('output' in row.value) && 'weights' in row.value && 'sampling' in row.value;
    first = false;
    if (header) {
      sampled = true;
      continue;
    }
    format ??= detectAnswers(row.value);
    if (!format) {
      throw new InputError(
        `${row.where}: no known format of answers; it has ${Object.keys(row.value).join(', ') || 'no columns'}`,
        'edpo reads instruction/output (AlpacaEval), question_id/choices (Arena-Hard v0.1, MT-Bench), uid/messages (Arena-Hard v2), prompt/output',
      );
    }
    answers.push({ ...readAnswer(row, format), ...(sampled || row.value['empty'] === true ? { mayBeEmpty: true } : {}) });
  }
  if (!format) throw new InputError(`${path} holds no answers`);
  return { path, format, answers };
}
