import { createHash } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EdpoError, InputError, InputErrors } from '../../errors.js';
import type { ChatTemplate } from '../text/template.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { idsOf, same, unusable } from './check.js';
import { detectFormat, isLabelled, readExample, type DatasetFormat, type Example, type Sides } from './formats.js';
import { listTokens, type ListTokens } from './lists.js';
import { describeReport, RowCounts, SAME_WHEN_CUT, TOO_LONG, type DataReport } from './report.js';
import { rows, type Row } from './rows.js';
import type { Tokenization, TokenIds } from './tokenise.js';
import { truncate, type TruncationMode } from './truncate.js';

export { describeReport, type DataReport };

export interface StoreOptions {
  /** For messages; and read, where `rows` is absent. */
  files: string[];
  rows?: () => AsyncIterable<Row>;
  format: DatasetFormat;
  tokenizer: Tokenizer;
  template: ChatTemplate | undefined;
  tokenization: Tokenization;
  /** 2: pairs; 1: the chosen side or SFT rows; labelled: single responses with a label, or pairs where the first row is one. */
  sides: Sides;
  maxLength: number;
  maxPromptLength: number;
  truncation: TruncationMode;
  /** Unusable rows (empty, identical, mismatched): an error, or dropped and counted; auto drops them for HH text alone. */
  badRows: 'auto' | 'error' | 'drop';
  /** Size of the model's vocabulary: ids must lie below it. */
  vocabSize: number;
  /** Keep at most this many usable rows; 0 = all. */
  maxSamples: number;
  /** Weights per token are wanted too (methods with token weights). */
  weighted?: boolean;
  /** Lists of responses with scores may stand in place of pairs. */
  lists?: boolean;
  /** Keep texts too, for samples and reports. */
  keepText: boolean;
}

async function* eachFile(files: string[]): AsyncGenerator<Row> {
  for (const file of files) yield* rows(file);
}

const FLUSH = 1 << 18;
const NO_WEIGHT = 'a response without a weighted token';

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
    /** Of each data set of a mixture its own. */
    const formats = new Map<number, Exclude<DatasetFormat, 'auto'>>();
    const enough = (): boolean => o.maxSamples > 0 && this.count >= o.maxSamples;
    let id = -1;
    let sides: Sides | undefined = o.sides === 'labelled' ? undefined : o.sides;
    const source = o.rows ? o.rows() : eachFile(o.files);
    for await (const row of source) {
      id = row.id ?? id + 1;
      report.rows++;
      const format = o.format === 'auto' ? formats.get(row.set ?? 0) ?? detectFormat(row.value) : o.format;
      formats.set(row.set ?? 0, format);
      report.format = [...new Set(formats.values())].join(', ');
      if (format === 'list' && !o.lists) throw new InputError(`${row.where}: a list of responses with scores, and the method does not rank lists`, '--loss_type rrhf');
      if (formats.size > 1 && new Set([...formats.values()].map((f) => f === 'list')).size > 1) throw new InputError(`${row.where}: the data sets of a mixture are of two kinds, lists of responses and pairs`, 'mix data of one kind');
      sides ??= this.found(row.value);
      const example = format === 'list' ? undefined : readExample(row, format, sides, o.template, o.weighted);
      const reason = example === undefined ? undefined : 'refused' in example ? example.refused : unusable(example);
      const tokens: TokenIds | ListTokens | { refused: string } = reason !== undefined ? { refused: reason } : example === undefined ? listTokens(row, o) : idsOf(example as Example, o, row.where);
      if ('refused' in tokens) {
        counts.drop(tokens.refused, id, row.where);
        continue;
      }
      for (const list of [tokens.prompt, ...tokens.responses]) {
        const bad = list.find((t) => t >= o.vocabSize);
        if (bad !== undefined) throw new InputError(`${row.where}: token id ${bad} is outside the model's vocabulary of ${o.vocabSize}`, 'this data was tokenised for another model');
      }
      // The official code cuts a prompt to its last tokens, whatever the first one is.
      const bosId = o.tokenization === 'edpo' ? o.tokenizer.bosId : undefined;
      const cut = truncate(tokens, { maxLength: o.maxLength, maxPromptLength: o.maxPromptLength, mode: o.truncation, bosId });
      if ('tooLong' in cut) {
        if (o.truncation === 'error') throw new InputError(`${row.where}: ${cut.tooLong}`, '--truncation_mode drop or keep_start, or a larger --max_length');
        counts.drop(TOO_LONG, id, row.where);
        continue;
      }
      if (example !== undefined && same(cut.ids)) {
        counts.drop(SAME_WHEN_CUT, id, row.where);
        continue;
      }
      const weights = tokens.weights?.map((list, k) => list.slice(0, cut.ids.responses[k]!.length));
      if (weights?.some((list) => list.every((w) => w === 0))) {
        counts.drop(NO_WEIGHT, id, row.where);
        continue;
      }
      report.promptsCut += Number(cut.promptCut);
      report.responsesCut += Number(cut.responseCut);
      this.add(id, cut.ids.prompt, cut.ids.responses, weights, (example as Example | undefined)?.desirable);
      const { scores } = tokens as Partial<ListTokens>;
      if (scores) {
        this.scores.push(scores);
        this.digest.update(Float64Array.from(scores));
      }
      if (o.keepText && example) this.texts.push(example as Example);
      if (enough()) break;
    }
    this.flush();
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
  private found(row: Record<string, unknown>): Sides {
    if (!isLabelled(row)) return (this.sides = 2);
    this.labels = [];
    return 'labelled';
  }

  private add(id: number, prompt: number[], responses: number[][], weights: number[][] | undefined, desirable: boolean | undefined): void {
    this.ids.push(id);
    if (this.labels) {
      this.labels.push(desirable!);
      this.digest.update(desirable ? 'desirable' : 'undesirable');
    }
    this.offsets.push(this.written + this.waiting);
    this.promptLengths.push(prompt.length);
    this.responseLengths.push(responses.map((r) => r.length));
    const lists = [prompt, ...responses];
    const words = new Uint32Array(lists.reduce((sum, list) => sum + list.length, 0));
    lists.reduce((at, list) => (words.set(list, at), at + list.length), 0);
    // Lengths too: the same ids with the prompt ending elsewhere are other data.
    this.digest.update(Uint32Array.from(lists, (list) => list.length)).update(words);
    this.pending.push(words);
    this.waiting += words.length;
    if (weights) {
      // Behind the ids, as f32 bits.
      this.weighted = true;
      const bits = new Uint32Array(Float32Array.from(weights.flat()).buffer);
      this.weightsDigest.update(bits);
      this.pending.push(bits);
      this.waiting += bits.length;
    }
    if (this.waiting > FLUSH) this.flush();
  }

  private flush(): void {
    const bytes = Buffer.concat(this.pending.map((words) => new Uint8Array(words.buffer)));
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
