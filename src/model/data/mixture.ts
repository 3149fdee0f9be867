import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InputError } from '../../errors.js';
import { epochOrder } from './order.js';
import { rows, type Row } from './rows.js';

/** One data set of a mixture, its files found. */
export interface MixtureSource {
  name: string;
  files: string[];
  /** Columns that are read; all where absent. */
  columns?: string[];
  /** Share of its rows that is taken. */
  weight: number;
}

export interface MixtureRules {
  seed: number;
  /** Rows held out: a count from 1 on, or a share in (0, 1); undefined: none. */
  testSize: number | undefined;
  /** Which rows a weight takes: drawn by seed, or the first. */
  take: 'random' | 'first';
}

/** Row numbers, counted through all files of all sets, in the order they are used in. */
export interface MixtureOrder {
  train: Uint32Array;
  held: Uint32Array;
  /** Rows taken of each set. */
  taken: number[];
}

/**
 * Which rows a mixture takes, and their order, from counts and seed alone (alignment-handbook's get_dataset, with our generator): of each set
 * floor(n · weight) rows, all of them shuffled together, the first ceil(total · test_split_size) (or that many) held out.
 * @param counts rows of each set
 */
export function mixtureOrder(counts: number[], weights: number[], { seed, testSize, take }: MixtureRules): MixtureOrder {
  const picks: Uint32Array[] = [];
  let first = 0;
  counts.forEach((n, k) => {
    // A share such as 0.29 of 100 rows is 28.999… in floating point.
    const wanted = Math.floor(n * weights[k]! + 1e-9);
    const order = epochOrder(n, seed, k, take === 'random' && wanted < n);
    picks.push(order.slice(0, wanted).map((i) => i + first));
    first += n;
  });
  const total = picks.reduce((n, p) => n + p.length, 0);
  const all = new Uint32Array(total);
  let at = 0;
  for (const p of picks) {
    all.set(p, at);
    at += p.length;
  }
  const shuffled = epochOrder(total, seed, counts.length).map((i) => all[i]!);
  const held = testSize === undefined ? 0 : testSize < 1 ? Math.ceil(total * testSize - 1e-9) : testSize;
  if (total === 0) throw new InputError('dataset_mixture takes no row of any data set', 'larger weights');
  if (held >= total) throw new InputError(`dataset_mixture: test_split_size ${testSize!} holds out ${held} of ${total} rows and leaves none to train on`, `a test_split_size below ${total}, or a share`);
  return { train: shuffled.slice(held), held: shuffled.slice(0, held), taken: picks.map((p) => p.length) };
}

/** Rows of each set, counted by reading them. */
export async function countRows(sources: MixtureSource[]): Promise<number[]> {
  const counts: number[] = [];
  for (const s of sources) {
    let n = 0;
    for (const file of s.files) for await (const _ of rows(file)) n++;
    counts.push(n);
  }
  return counts;
}

/** Every row of every set in its file's order, with its number and its set's, and the chosen columns alone. */
export async function* allRows(sources: MixtureSource[]): AsyncGenerator<Row> {
  let id = 0;
  for (const [set, s] of sources.entries()) {
    let fresh = true;
    for (const file of s.files) {
      for await (const row of rows(file)) {
        const lacking = fresh ? s.columns?.filter((c) => !(c in row.value)) : undefined;
        if (lacking?.length) throw new InputError(`${row.where}: column ${lacking.join(', ')}, chosen in dataset_mixture, is missing; it has ${Object.keys(row.value).join(', ') || 'none'}`, 'name columns the data set has');
        fresh = false;
        yield { value: s.columns ? Object.fromEntries(s.columns.flatMap((c) => (c in row.value ? [[c, row.value[c]]] : []))) : row.value, where: row.where, id: id++, set };
      }
    }
  }
}

/** Parquet's 64-bit integers have no JSON. */
const plain = (_: string, v: unknown): unknown => (typeof v === 'bigint' ? Number(v) : v);

/** The rows of these numbers in this order. They pass through a file on disk, since data may be larger than memory. */
export async function* mixtureRows(sources: MixtureSource[], order: Uint32Array): AsyncGenerator<Row> {
  const place = new Map<number, number>();
  order.forEach((id, i) => place.set(id, i));
  const folder = mkdtempSync(join(tmpdir(), 'edpo-mixture-'));
  const fd = openSync(join(folder, 'rows.jsonl'), 'w+');
  try {
    const offsets = new Float64Array(order.length);
    const lengths = new Uint32Array(order.length);
    let end = 0;
    for await (const row of allRows(sources)) {
      const i = place.get(row.id!);
      if (i === undefined) continue;
      const bytes = Buffer.from(JSON.stringify(row, plain));
      offsets[i] = end;
      lengths[i] = bytes.length;
      end += writeSync(fd, bytes);
    }
    for (let i = 0; i < order.length; i++) {
      const bytes = Buffer.alloc(lengths[i]!);
      readSync(fd, bytes, 0, bytes.length, offsets[i]!);
      yield JSON.parse(bytes.toString('utf8')) as Row;
    }
  } finally {
    closeSync(fd);
    rmSync(folder, { recursive: true, force: true });
  }
}
