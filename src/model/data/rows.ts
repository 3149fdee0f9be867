import { InputError } from '../../errors.js';
import { jsonItems } from './json_array.js';
import { lines } from './lines.js';

/** A row of a data file and where it stands, for messages. */
export interface Row {
  value: Record<string, unknown>;
  where: string;
  /** Of a mixture: its number through all the data, and its data set’s. */
  id?: number;
  set?: number;
}

/** Rows of a .jsonl, .json (an array) or .parquet file, the first two also gzipped. */
export async function* rows(path: string): AsyncGenerator<Row> {
  const kind = path.replace(/\.gz$/, '').split('.').at(-1);
  if (kind === 'parquet') yield* parquetRows(path);
  else if (kind === 'json') yield* jsonRows(path);
  else if (kind === 'jsonl' || kind === 'ndjson') yield* jsonlRows(path);
  else throw new InputError(`${path}: expected a .jsonl, .json or .parquet file (the first two also .gz)`);
}

async function* jsonlRows(path: string): AsyncGenerator<Row> {
  for await (const { text, number } of lines(path)) {
    if (text.trim() === '') continue;
    const where = `${path} line ${number}`;
    yield { value: object(parse(text, where), where), where };
  }
}

async function* jsonRows(path: string): AsyncGenerator<Row> {
  let i = 0;
  for await (const { text, line } of jsonItems(path)) {
    const where = `${path} item ${i++} (line ${line})`;
    yield { value: object(parse(text, where), where), where };
  }
}

async function* parquetRows(path: string): AsyncGenerator<Row> {
  const { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } = await import('hyparquet');
  const { compressors } = await import('hyparquet-compressors');
  try {
    const file = await asyncBufferFromFile(path);
    const metadata = await parquetMetadataAsync(file);
    let start = 0;
    // One row group at a time: a file may be larger than memory.
    for (const group of metadata.row_groups) {
      const end = start + Number(group.num_rows);
      const items = await parquetReadObjects({ file, metadata, compressors, rowStart: start, rowEnd: end });
      for (const [i, value] of items.entries()) yield { value, where: `${path} row ${start + i}` };
      start = end;
    }
  } catch (cause) {
    if (cause instanceof InputError) throw cause;
    throw new InputError(`cannot read ${path} as parquet: ${(cause as Error).message}`, undefined, cause);
  }
}

function parse(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new InputError(`${where} is no JSON: ${(cause as Error).message}`, 'mend or remove the line');
  }
}

function object(value: unknown, where: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new InputError(`${where}: expected an object with columns, got ${Array.isArray(value) ? 'an array' : JSON.stringify(value)}`);
  }
  return value as Record<string, unknown>;
}
