import { InputError } from '../../errors.js';
import { detectFormat, isLabelled, type DatasetFormat, type Sides } from './formats.js';
import { outcomeOf, type FormattedRow, type RowOptions, type RowOutcome } from './row_outcome.js';
import { outcomesOf, replyTo, type RowsReply } from './row_reply.js';
import { RowWorkers, type RowThreads } from './row_threads.js';
import type { Row } from './rows.js';

/** A row as it was read: its number, data set and format, and what is wanted of it. */
interface ReadRow extends FormattedRow {
  id: number;
  set: number;
  sides: Sides;
}

/** Gives rows their numbers and formats; the first row decides for its data set, and whether labelled responses come as pairs. */
export async function* readRows(source: AsyncIterable<Row>, o: { format: DatasetFormat; sides: Sides; lists: boolean }): AsyncGenerator<ReadRow> {
  /** Of each data set of a mixture its own. */
  const formats = new Map<number, Exclude<DatasetFormat, 'auto'>>();
  let id = -1;
  let sides: Sides | undefined = o.sides === 'labelled' ? undefined : o.sides;
  for await (const { value, where, ...row } of source) {
    id = row.id ?? id + 1;
    const set = row.set ?? 0;
    const format = o.format === 'auto' ? (formats.get(set) ?? detectFormat(value)) : o.format;
    formats.set(set, format);
    if (format === 'list' && !o.lists) throw new InputError(`${where}: a list of responses with scores, and the method does not rank lists`, '--loss_type rrhf');
    if (formats.size > 1 && new Set([...formats.values()].map((f) => f === 'list')).size > 1) throw new InputError(`${where}: the data sets of a mixture are of two kinds, lists of responses and pairs`, 'mix data of one kind');
    sides ??= isLabelled(value) ? 'labelled' : 2;
    yield { value, where, id, set, format, sides };
  }
}

/** A row without its columns, and what became of it. */
type Tokenised = Pick<ReadRow, 'id' | 'set' | 'where' | 'format' | 'sides'> & { outcome: RowOutcome };

/** Rows of a task: some tens of milliseconds of a thread. */
const TASK = 64;
/** Tasks a thread has at most, done ones that wait for their turn among them: it never idles, and memory holds so many rows whatever their number. */
const AHEAD = 3;

/** Rows read together; and an error of reading, which is due behind them. */
interface Batch {
  rows: ReadRow[];
  broken?: { error: unknown };
}

async function* batches(rows: AsyncIterable<ReadRow>): AsyncGenerator<Batch> {
  let batch: ReadRow[] = [];
  try {
    for await (const row of rows) {
      if (batch.push(row) < TASK) continue;
      yield { rows: batch };
      batch = [];
    }
  } catch (error) {
    yield { rows: batch, broken: { error } };
    return;
  }
  if (batch.length > 0) yield { rows: batch };
}

/**
 * Tokenises rows, in this thread or in others, with the same outcomes in the same order: an error, of a row or of reading, comes behind all rows before it.
 * Leaving the loop early ends the threads.
 */
export async function* tokenised(rows: AsyncIterable<ReadRow>, o: RowOptions, threads?: RowThreads): AsyncGenerator<Tokenised> {
  if (!threads) {
    for await (const row of rows) yield { ...row, outcome: outcomeOf(row, row.sides, o) };
    return;
  }
  const { tokenizer: _, template: __, ...options } = o;
  const workers = new RowWorkers(threads.count, { text: threads.text, options });
  const waiting: Array<Batch & { reply: Promise<RowsReply> }> = [];
  try {
    for await (const batch of batches(rows)) {
      const reply = answer(batch.rows, o, workers);
      // It is looked at when its turn comes.
      reply.catch(() => undefined);
      waiting.push({ ...batch, rows: batch.rows.map((row) => ({ ...row, value: {} })), reply });
      if (waiting.length >= AHEAD * threads.count) yield* inTurn(waiting.shift()!);
    }
    while (waiting.length > 0) yield* inTurn(waiting.shift()!);
  } finally {
    await workers.close();
  }
}

/** Token ids are only checked: sending them to a thread would take longer. */
async function answer(rows: ReadRow[], o: RowOptions, workers: RowWorkers): Promise<RowsReply> {
  if (rows.length === 0 || rows.every((row) => row.format === 'tokenized')) return replyTo(rows, rows[0]?.sides ?? 2, o);
  return workers.run({ rows: rows.map(({ value, where, format }) => ({ value, where, format })), sides: rows[0]!.sides });
}

async function* inTurn({ rows, broken, reply }: Batch & { reply: Promise<RowsReply> }): AsyncGenerator<Tokenised> {
  let i = 0;
  for (const outcome of outcomesOf(await reply)) yield { ...rows[i++]!, outcome };
  if (broken) throw broken.error;
}
