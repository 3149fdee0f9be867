import { createHash } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EdpoError, InputError, InputErrors } from '../../errors.js';
import type { DatasetFormat, Example, Sides } from './formats.js';
import { describeReport, RowCounts, type DataReport } from './report.js';
import type { RowOptions, RowTokens } from './row_outcome.js';
import { readRows, tokenised } from './row_stream.js';
import type { RowThreads } from './row_threads.js';
import { rows, type Row } from './rows.js';

export { describeReport, type DataReport };

export interface StoreOptions extends RowOptions {
  /** For messages; and read, where `rows` is absent. */
  files: string[];
  rows?: () => AsyncIterable<Row>;
  format: DatasetFormat;
  /** 2: pairs; 1: the chosen side or SFT rows; labelled: single responses with a label, or pairs where the first row is one. */
  sides: Sides;
  /** Unusable rows (empty, identical, mismatched): an error, or dropped and counted; auto drops them for HH text alone. */
  badRows: 'auto' | 'error' | 'drop';
  /** Keep at most this many usable rows; 0 = all. */
  maxSamples: number;
  /** Lists of responses with scores may stand in place of pairs. */
  lists?: boolean;
  /** Rows are tokenised in these; the result is the same. */
  threads?: RowThreads;
}

async function* eachFile(files: string[]): AsyncGenerator<Row> {
  for (const file of files) yield* rows(file);
}

const FLUSH = 1 << 18;

/**
 * Documents of a split, validated and tokenised in one streaming pass into a file of ids; in memory only an index of
 * offsets and lengths, so data may be larger than memory. Random access reads one document.
 */
export class TokenStore {
  readonly ids: number[] = [];
  private readonly offsets: number[] = [];
  readonly promptLengths: number[] = [];
  readonly responseLengths: number[][] = [];
  readonly texts: Example[] = [];
  /** Responses of a document. */
  sides: 1 | 2;
  /** Unpaired data: is document i's response a desirable one? */
  labels: boolean[] | undefined;
  hash = '';
  /** Of the token weights, where there are any: other weights are other data, but a reference cache serves them all. */
  weightsHash: string | undefined;
  report: DataReport = { rows: 0, kept: 0, dropped: {}, promptsCut: 0, responsesCut: 0, format: 'auto' };
  private readonly folder: string;
  private readonly fd: number;
  private written = 0;
  private pending: Uint32Array[] = [];
  private waiting = 0;
  private readonly digest = createHash('sha256');
  private readonly weightsDigest = createHash('sha256');
  private weighted = false;
  /** Scores of each document's responses, where the data are lists. */
  readonly scores: number[][] = [];

  private constructor(sides: Sides) {
    this.sides = sides === 2 ? 2 : 1;
    try {
      this.folder = mkdtempSync(join(tmpdir(), 'edpo-tokens-'));
      this.fd = openSync(join(this.folder, 'ids.bin'), 'w+');
    } catch (cause) {
      throw unwritable(cause);
    }
    try {
      // The open file stays usable without its name, so that a killed run leaves nothing behind.
      rmSync(this.folder, { recursive: true });
    } catch {
      // Where the system keeps names of open files (Windows), close() removes it.
    }
  }

  /** Reads, checks and tokenises every row. Throws InputError(s) that name the rows. */
  static async build(o: StoreOptions): Promise<TokenStore> {
    const store = new TokenStore(o.sides);
    try {
      await store.fill(o);
    } catch (error) {
      store.close();
      throw error;
    }
    return store;
  }

  private async fill(o: StoreOptions): Promise<void> {
    if (o.tokenizer.vocabSize > o.vocabSize) {
      throw new InputError(`the tokenizer has ${o.tokenizer.vocabSize} ids, the model's vocabulary only ${o.vocabSize}`, 'the tokenizer files belong to another model');
    }
    const { report } = this;
    const counts = new RowCounts();
    report.dropped = counts.dropped;
    const formats = new Map<number, Exclude<DatasetFormat, 'auto'>>();
    const { tokenizer, template, tokenization, vocabSize, maxLength, maxPromptLength, truncation, keepText, weighted = false } = o;
    const read = readRows(o.rows ? o.rows() : eachFile(o.files), { format: o.format, sides: o.sides, lists: o.lists ?? false });
    for await (const { id, set, where, format, sides, outcome } of tokenised(read, { tokenizer, template, tokenization, vocabSize, maxLength, maxPromptLength, truncation, keepText, weighted }, o.threads)) {
      if (report.rows++ === 0) this.found(sides);
      formats.set(set, format);
      if ('refused' in outcome) {
        counts.drop(outcome.refused, id, where);
        continue;
      }
      report.promptsCut += Number(outcome.promptCut);
      report.responsesCut += Number(outcome.responseCut);
      this.add(id, outcome);
      if (o.maxSamples > 0 && this.count >= o.maxSamples) break;
    }
    this.flush();
    report.format = [...new Set(formats.values())].join(', ') || report.format;
    report.kept = this.count;
    this.hash = this.digest.digest('hex');
    if (this.weighted) this.weightsHash = this.weightsDigest.digest('hex');
    const fatal = o.badRows === 'error' || (o.badRows === 'auto' && ![...formats.values()].every((f) => f === 'hh'));
    const bad = counts.problems();
    if (fatal && bad.length > 0) {
      throw new InputErrors(`${o.files.join(', ')}: rows that cannot be used`, bad, 'mend them, or --bad_rows drop to leave them out');
    }
    if (this.count === 0) throw new InputErrors(`${o.files.join(', ')}: no usable row of ${report.rows}`, describeReport(report).slice(1), 'raise --max_length, or look at the rows');
  }

  /** Where labelled responses are wanted, pairs will do: the caller splits them. */
  private found(sides: Sides): void {
    this.sides = sides === 2 ? 2 : 1;
    if (sides === 'labelled') this.labels = [];
  }

  private add(id: number, { words, lengths, weights, scores, desirable, example }: RowTokens): void {
    this.ids.push(id);
    if (this.labels) {
      this.labels.push(desirable!);
      this.digest.update(desirable ? 'desirable' : 'undesirable');
    }
    this.offsets.push(this.written + this.waiting);
    this.promptLengths.push(lengths[0]!);
    this.responseLengths.push(lengths.slice(1));
    // Lengths too: the same ids with the prompt ending elsewhere are other data.
    this.digest.update(Uint32Array.from(lengths)).update(words);
    this.pending.push(words);
    this.waiting += words.length;
    if (weights) {
      // Behind the ids, as f32 bits.
      this.weighted = true;
      this.weightsDigest.update(weights);
      this.pending.push(weights);
      this.waiting += weights.length;
    }
    if (scores) {
      this.scores.push(scores);
      this.digest.update(Float64Array.from(scores));
    }
    if (example) this.texts.push(example);
    if (this.waiting > FLUSH) this.flush();
  }

  private flush(): void {
    const bytes = Buffer.concat(this.pending.map((words) => new Uint8Array(words.buffer, words.byteOffset, words.byteLength)));
    let at = 0;
    try {
      while (at < bytes.length) at += writeSync(this.fd, bytes, at, bytes.length - at, this.written * 4 + at);
    } catch (cause) {
      throw unwritable(cause);
    }
    this.written += this.waiting;
    this.waiting = 0;
    this.pending = [];
  }

  get count(): number {
    return this.ids.length;
  }

  /** Are the documents lists of responses with scores? */
  get lists(): boolean {
    return this.scores.length > 0;
  }

  /** Ids of document i (position, not row number). */
  get(i: number): { id: number; prompt: Uint32Array; responses: Uint32Array[]; weights?: Float32Array[] } {
    const lengths = this.responseLengths[i]!;
    const count = lengths.reduce((a, b) => a + b, 0);
    const words = new Uint32Array(this.promptLengths[i]! + count * (this.weighted ? 2 : 1));
    const bytes = new Uint8Array(words.buffer);
    for (let done = 0; done < bytes.length; ) {
      const got = readSync(this.fd, bytes, done, bytes.length - done, this.offsets[i]! * 4 + done);
      if (got === 0) throw new EdpoError(`the tokenised data in ${tmpdir()} ends before document ${i}`);
      done += got;
    }
    let at = this.promptLengths[i]!;
    const responses = lengths.map((n) => words.subarray(at, (at += n)));
    const weights = this.weighted ? lengths.map((n) => new Float32Array(words.buffer, 4 * at, ((at += n), n))) : undefined;
    return { id: this.ids[i]!, prompt: words.subarray(0, this.promptLengths[i]), responses, ...(weights ? { weights } : {}) };
  }

  close(): void {
    closeSync(this.fd);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

const unwritable = (cause: unknown): EdpoError =>
  new EdpoError(`cannot write the tokenised data to ${tmpdir()}: ${(cause as Error).message}`, { hint: 'make room there, or set TMPDIR to a folder with more', cause });
