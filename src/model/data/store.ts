import { createHash } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EdpoError, InputError, InputErrors } from '../../errors.js';
import { TemplateRefusal, type ChatTemplate } from '../text/template.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { detectFormat, readExample, type DatasetFormat, type Example } from './formats.js';
import { rows } from './rows.js';
import { tokenise, type TokenIds, type Tokenization } from './tokenise.js';
import { truncate, type TruncationMode } from './truncate.js';

export interface StoreOptions {
  files: string[];
  format: DatasetFormat;
  tokenizer: Tokenizer;
  template: ChatTemplate | undefined;
  tokenization: Tokenization;
  /** 2: pairs; 1: the chosen side or SFT rows. */
  sides: 1 | 2;
  maxLength: number;
  maxPromptLength: number;
  truncation: TruncationMode;
  /** Unusable rows (empty, identical, mismatched): an error, or dropped and counted; auto drops them for HH text alone. */
  badRows: 'auto' | 'error' | 'drop';
  /** Size of the model's vocabulary: ids must lie below it. */
  vocabSize: number;
  /** Keep at most this many usable rows; 0 = all. */
  maxSamples: number;
  /** Keep texts too, for samples and reports. */
  keepText: boolean;
}

/** What became of the rows; goes to the terminal and the run manifest. */
export interface DataReport {
  rows: number;
  kept: number;
  dropped: Record<string, { count: number; first: number[] }>;
  promptsCut: number;
  responsesCut: number;
  format: string;
}

const TOO_LONG = 'too long';
const SAME_WHEN_CUT = 'identical once cut to max_length';
const IDENTICAL = 'chosen and rejected are identical';
const LISTED = 8;
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
  hash = '';
  report: DataReport = { rows: 0, kept: 0, dropped: {}, promptsCut: 0, responsesCut: 0, format: 'auto' };
  private readonly folder = mkdtempSync(join(tmpdir(), 'edpo-tokens-'));
  private readonly fd = openSync(join(this.folder, 'ids.bin'), 'w+');
  private written = 0;
  private pending: number[] = [];
  private readonly digest = createHash('sha256');
  /** Where the first row of each reason stands. */
  private readonly places = new Map<string, string>();

  private constructor(readonly sides: 1 | 2) {
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
    let format = o.format === 'auto' ? undefined : o.format;
    const enough = (): boolean => o.maxSamples > 0 && this.count >= o.maxSamples;
    let id = -1;
    for (const file of o.files) {
      if (enough()) break;
      for await (const row of rows(file)) {
        if (enough()) break;
        id++;
        report.rows++;
        format ??= detectFormat(row.value);
        report.format = format;
        const example = readExample(row, format, o.sides, o.template);
        const reason = 'refused' in example ? example.refused : unusable(example);
        const tokens = reason === undefined ? idsOf(example as Example, o, row.where) : { refused: reason };
        if ('refused' in tokens) {
          this.drop(tokens.refused, id, row.where);
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
          this.drop(TOO_LONG, id, row.where);
          continue;
        }
        if (same(cut.ids)) {
          this.drop(SAME_WHEN_CUT, id, row.where);
          continue;
        }
        report.promptsCut += Number(cut.promptCut);
        report.responsesCut += Number(cut.responseCut);
        this.add(id, cut.ids.prompt, cut.ids.responses);
        if (o.keepText) this.texts.push(example as Example);
      }
    }
    this.flush();
    report.kept = this.count;
    this.hash = this.digest.digest('hex');
    const fatal = o.badRows === 'error' || (o.badRows === 'auto' && format !== 'hh');
    // What truncation does is by request, and counted.
    const bad = Object.entries(report.dropped).filter(([reason]) => reason !== TOO_LONG && reason !== SAME_WHEN_CUT);
    if (fatal && bad.length > 0) {
      throw new InputErrors(`${o.files.join(', ')}: rows that cannot be used`, bad.map(([reason, { count, first }]) => `${reason}: ${count} row${count > 1 ? 's' : ''} (${first.join(', ')}${count > first.length ? ', …' : ''}, counted from 0; the first is ${this.places.get(reason)!})`), 'mend them, or --bad_rows drop to leave them out');
    }
    if (this.count === 0) throw new InputErrors(`${o.files.join(', ')}: no usable row of ${report.rows}`, describeReport(report).slice(1), 'raise --max_length, or look at the rows');
  }

  private drop(reason: string, id: number, where: string): void {
    if (!this.places.has(reason)) this.places.set(reason, where);
    const entry = (this.report.dropped[reason] ??= { count: 0, first: [] });
    entry.count++;
    if (entry.first.length < LISTED) entry.first.push(id);
  }

  private add(id: number, prompt: number[], responses: number[][]): void {
    this.ids.push(id);
    this.offsets.push(this.written + this.pending.length);
    this.promptLengths.push(prompt.length);
    this.responseLengths.push(responses.map((r) => r.length));
    this.digest.update(Uint32Array.of(prompt.length, ...responses.map((r) => r.length)));
    // No spread: an argument list has a limit that a long document passes.
    for (const list of [prompt, ...responses]) for (const token of list) this.pending.push(token);
    if (this.pending.length > FLUSH) this.flush();
  }

  private flush(): void {
    const words = Uint32Array.from(this.pending);
    const bytes = new Uint8Array(words.buffer);
    this.digest.update(bytes);
    let at = 0;
    try {
      while (at < bytes.length) at += writeSync(this.fd, bytes, at, bytes.length - at, this.written * 4 + at);
    } catch (cause) {
      throw new EdpoError(`cannot write the tokenised data to ${tmpdir()}: ${(cause as Error).message}`, { hint: 'make room there, or set TMPDIR to a folder with more', cause });
    }
    this.written += words.length;
    this.pending = [];
  }

  get count(): number {
    return this.ids.length;
  }

  /** Ids of document i (position, not row number). */
  get(i: number): { id: number; prompt: Uint32Array; responses: Uint32Array[] } {
    const lengths = this.responseLengths[i]!;
    const total = lengths.reduce((a, b) => a + b, this.promptLengths[i]!);
    const words = new Uint32Array(total);
    const bytes = new Uint8Array(words.buffer);
    for (let done = 0; done < bytes.length; ) {
      const got = readSync(this.fd, bytes, done, bytes.length - done, this.offsets[i]! * 4 + done);
      if (got === 0) throw new EdpoError(`the tokenised data in ${tmpdir()} ends before document ${i}`);
      done += got;
    }
    let at = this.promptLengths[i]!;
    const responses = lengths.map((n) => words.subarray(at, (at += n)));
    return { id: this.ids[i]!, prompt: words.subarray(0, this.promptLengths[i]), responses };
  }

  close(): void {
    closeSync(this.fd);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Ids of an example, or why this row has none that can be used. */
function idsOf(example: Example, o: StoreOptions, where: string): TokenIds | { refused: string } {
  let tokens: TokenIds;
  try {
    tokens = tokenise(example, o, where);
  } catch (cause) {
    if (cause instanceof TemplateRefusal) return { refused: cause.reason };
    throw cause;
  }
  if (tokens.responses.some((r) => r.length === 0)) return { refused: 'empty response' };
  if (tokens.prompt.length === 0) return { refused: 'empty prompt (and the tokenizer has no BOS to stand for it)' };
  return same(tokens) ? { refused: IDENTICAL } : tokens;
}

/** Both responses are the same ids: nothing to prefer. */
const same = ({ responses: [a, b] }: TokenIds): boolean => b !== undefined && a!.length === b.length && a!.every((token, i) => token === b[i]);

function unusable(e: Example): string | undefined {
  const text = (side: Example['chosen'] | undefined): string =>
    side === undefined ? '' : typeof side === 'string' ? side.trim() : side.map((x) => (typeof x === 'number' ? `${x} ` : x.content)).join('').trim();
  const rejected = text(e.rejected);
  if (text(e.chosen) === '' || (e.rejected !== undefined && rejected === '')) return 'empty response';
  if (e.rejected !== undefined && text(e.chosen) === rejected) return IDENTICAL;
  const texts = [e.prompt, e.chosen, e.rejected ?? ''].flatMap((side) => (typeof side === 'string' ? [side] : side.map((x) => (typeof x === 'number' ? '' : x.content))));
  // JSON can hold half of a surrogate pair, which UTF-8 and so a tokenizer cannot.
  if (texts.some((s) => /\p{Surrogate}/u.test(s))) return 'half a surrogate pair in the text';
  return undefined;
}

/** The report in lines for a person. */
export function describeReport(r: DataReport): string[] {
  return [
    `${r.kept} of ${r.rows} rows kept (format ${r.format})`,
    ...Object.entries(r.dropped).map(([reason, { count, first }]) => `dropped, ${reason}: ${count} (rows ${first.join(', ')}${count > first.length ? ', …' : ''})`),
    ...(r.promptsCut > 0 ? [`prompts cut to their end: ${r.promptsCut}`] : []),
    ...(r.responsesCut > 0 ? [`responses cut: ${r.responsesCut}`] : []),
  ];
}
