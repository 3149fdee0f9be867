import { InputError } from '../../errors.js';
import { idsOf, same, unusable } from './check.js';
import { readExample, type DatasetFormat, type Example, type Sides } from './formats.js';
import { listTokens, type ListTokens } from './lists.js';
import { SAME_WHEN_CUT, TOO_LONG } from './report.js';
import type { Row } from './rows.js';
import type { TokenIds, TokeniseOptions } from './tokenise.js';
import { truncate, type TruncationMode } from './truncate.js';

const NO_WEIGHT = 'a response without a weighted token';

/** How rows become tokens: the same for every row of a data set. */
export interface RowOptions extends TokeniseOptions {
  /** Size of the model's vocabulary: ids must lie below it. */
  vocabSize: number;
  maxLength: number;
  maxPromptLength: number;
  truncation: TruncationMode;
  /** Keep texts too, for samples and reports. */
  keepText: boolean;
}

/** A row to be tokenised, its format known. */
export type FormattedRow = Pick<Row, 'value' | 'where'> & { format: Exclude<DatasetFormat, 'auto'> };

/** A usable row's tokens, checked and cut, as the store keeps them. */
export interface RowTokens {
  /** Ids of the prompt, then of each response. */
  words: Uint32Array;
  /** Tokens of the prompt, then of each response. */
  lengths: number[];
  /** A weight for every token of the responses, as f32 bits. */
  weights?: Uint32Array;
  /** Of each response, where the row is a list. */
  scores?: number[];
  desirable?: boolean;
  promptCut: boolean;
  responseCut: boolean;
  example?: Example;
}

/** Tokens of a row, or why this row alone is left out. */
export type RowOutcome = RowTokens | { refused: string };

/** Checks and tokenises one row; depends on nothing but its arguments, so that any thread may do it. @throws InputError where the data cannot be read on */
export function outcomeOf(row: FormattedRow, sides: Sides, o: RowOptions): RowOutcome {
  const example = row.format === 'list' ? undefined : readExample(row, row.format, sides, o.template, o.weighted);
  if (example && 'refused' in example) return example;
  const reason = example && unusable(example);
  if (reason !== undefined) return { refused: reason };
  const tokens: TokenIds | ListTokens | { refused: string } = example ? idsOf(example, o, row.where) : listTokens(row, o);
  if ('refused' in tokens) return tokens;
  for (const list of [tokens.prompt, ...tokens.responses]) {
    const bad = list.find((t) => t >= o.vocabSize);
    if (bad !== undefined) throw new InputError(`${row.where}: token id ${bad} is outside the model's vocabulary of ${o.vocabSize}`, 'this data was tokenised for another model');
  }
  // The official code cuts a prompt to its last tokens, whatever the first one is.
  const bosId = o.tokenization === 'edpo' ? o.tokenizer.bosId : undefined;
  const cut = truncate(tokens, { maxLength: o.maxLength, maxPromptLength: o.maxPromptLength, mode: o.truncation, bosId });
  if ('tooLong' in cut) {
    if (o.truncation === 'error') throw new InputError(`${row.where}: ${cut.tooLong}`, '--truncation_mode drop or keep_start, or a larger --max_length');
    return { refused: TOO_LONG };
  }
  if (example && same(cut.ids)) return { refused: SAME_WHEN_CUT };
  const weights = tokens.weights?.map((list, k) => list.slice(0, cut.ids.responses[k]!.length));
  if (weights?.some((list) => list.every((w) => w === 0))) return { refused: NO_WEIGHT };
  const lists = [cut.ids.prompt, ...cut.ids.responses];
  const { scores } = tokens as Partial<ListTokens>;
  return {
    words: joined(lists), lengths: lists.map((list) => list.length), promptCut: cut.promptCut, responseCut: cut.responseCut,
    ...(weights ? { weights: new Uint32Array(Float32Array.from(weights.flat()).buffer) } : {}),
    ...(scores ? { scores } : {}),
    ...(example?.desirable === undefined ? {} : { desirable: example.desirable }),
    ...(o.keepText && example ? { example } : {}),
  };
}

/** Lists of ids or bits, one behind the other in memory of their own. */
export function joined(parts: Array<ArrayLike<number>>): Uint32Array<ArrayBuffer> {
  const all = new Uint32Array(parts.reduce((n, part) => n + part.length, 0));
  parts.reduce((at, part) => (all.set(part, at), at + part.length), 0);
  return all;
}
