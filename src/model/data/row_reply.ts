import { EdpoError, InputError } from '../../errors.js';
import type { Sides } from './formats.js';
import { joined, outcomeOf, type FormattedRow, type RowOptions, type RowOutcome, type RowTokens } from './row_outcome.js';

/** An error in a form that passes between threads. */
interface Failure {
  kind: 'input' | 'run' | 'internal';
  message: string;
  hint: string | undefined;
  exitCode: EdpoError['exitCode'];
  stack: string | undefined;
}

/** What became of some rows, in their order: all ids in one array, whose memory goes to the other thread as it is. A failure is the last entry. */
export interface RowsReply {
  words: Uint32Array<ArrayBuffer>;
  weights: Uint32Array<ArrayBuffer>;
  rows: Array<{ refused: string } | { failure: Failure } | (Omit<RowTokens, 'words' | 'weights'> & { weighted: boolean })>;
}

/** Tokenises rows up to the first that cannot be read. */
export function replyTo(rows: FormattedRow[], sides: Sides, o: RowOptions): RowsReply {
  const told: RowsReply['rows'] = [];
  const words: Uint32Array[] = [];
  const weights: Uint32Array[] = [];
  for (const row of rows) {
    try {
      const outcome = outcomeOf(row, sides, o);
      if ('refused' in outcome) {
        told.push(outcome);
        continue;
      }
      const { words: ids, weights: bits, ...rest } = outcome;
      words.push(ids);
      if (bits) weights.push(bits);
      told.push({ ...rest, weighted: bits !== undefined });
    } catch (error) {
      told.push({ failure: failureOf(error) });
      break;
    }
  }
  return { words: joined(words), weights: joined(weights), rows: told };
}

/** The rows' outcomes again. @throws what the row threw, when its turn comes */
export function* outcomesOf({ words, weights, rows }: RowsReply): Generator<RowOutcome> {
  let [word, weight] = [0, 0];
  for (const row of rows) {
    if ('failure' in row) throw errorOf(row.failure);
    if ('refused' in row) {
      yield row;
      continue;
    }
    const { weighted, ...rest } = row;
    const count = rest.lengths.reduce((a, b) => a + b, 0);
    yield {
      ...rest, words: words.subarray(word, (word += count)),
      ...(weighted ? { weights: weights.subarray(weight, (weight += count - rest.lengths[0]!)) } : {}),
    };
  }
}

function failureOf(error: unknown): Failure {
  const { message, stack } = error instanceof Error ? error : { message: String(error), stack: undefined };
  if (!(error instanceof EdpoError)) return { kind: 'internal', message, hint: undefined, exitCode: 1, stack };
  return { kind: error instanceof InputError ? 'input' : 'run', message, hint: error.hint, exitCode: error.exitCode, stack };
}

function errorOf({ kind, message, hint, exitCode, stack }: Failure): Error {
  const error = kind === 'internal' ? new Error(message) : kind === 'input' ? new InputError(message, hint) : new EdpoError(message, { exitCode, ...(hint === undefined ? {} : { hint }) });
  if (stack !== undefined) error.stack = stack;
  return error;
}
