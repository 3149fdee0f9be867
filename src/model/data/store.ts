import { createHash } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InputError, InputErrors } from '../../errors.js';
import type { ChatTemplate } from '../text/template.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { detectFormat, readExample, type DatasetFormat, type Example } from './formats.js';
import { rows } from './rows.js';
import { tokenise, type Tokenization } from './tokenise.js';
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

  private constructor(readonly sides: 1 | 2) {}

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
    let id = -1;
    for (const file of o.files) {
      for await (const row of rows(file)) {
        id++;
        if (o.maxSamples > 0 && this.count >= o.maxSamples) break;
        report.rows++;
        format ??= detectFormat(row.value);
        report.format = format;
        const example = readExample(row, format, o.sides, o.template);
        const reason = 'refused' in example ? example.refused : unusable(example);
        if (reason) {
          this.drop(reason, id);
          continue;
        }
        const tokens = tokenise(example as Example, o, row.where);
        if (tokens.responses.some((r) => r.length === 0)) {
          this.drop('empty response', id);
          continue;
        }
        for (const list of [tokens.prompt, ...tokens.responses]) {
          const bad = list.find((t) => t >= o.vocabSize);
          if (bad !== undefined) throw new InputError(`${row.where}: token id ${bad} is outside the model's vocabulary of ${o.vocabSize}`, 'this data was tokenised for another model');
        }
        if (tokens.prompt.length === 0) {
          this.drop('empty prompt', id);
          continue;
        }
        const cut = truncate(tokens, { maxLength: o.maxLength, maxPromptLength: o.maxPromptLength, mode: o.truncation, bosId: o.tokenizer.bosId });
        if ('tooLong' in cut) {
          if (o.truncation === 'error') throw new InputError(`${row.where}: ${cut.tooLong}`, '--truncation_mode drop or keep_start, or a larger --max_length');
          this.drop('too long', id);
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
    const bad = Object.entries(report.dropped).filter(([reason]) => reason !== 'too long');
    if (fatal && bad.length > 0) {
      throw new InputErrors(`${o.files.join(', ')}: rows that cannot be used`, bad.map(([reason, { count, first }]) => `${reason}: ${count} row${count > 1 ? 's' : ''} (${first.join(', ')}${count > first.length ? ', …' : ''}, counted from 0)`), 'mend them, or --bad_rows drop to leave them out');
    }
    if (this.count === 0) throw new InputErrors(`${o.files.join(', ')}: no usable row of ${report.rows}`, describeReport(report).slice(1), 'raise --max_length, or look at the rows');
  }

  private drop(reason: string, id: number): void {
    const entry = (this.report.dropped[reason] ??= { count: 0, first: [] });
    entry.count++;
    if (entry.first.length < LISTED) entry.first.push(id);
  }

  private add(id: number, prompt: number[], responses: number[][]): void {
    this.ids.push(id);
    this.offsets.push(this.written + this.pending.length);
    this.promptLengths.push(prompt.length);
    this.responseLengths.push(responses.map((r) => r.length));
    this.pending.push(...prompt);
    for (const r of responses) this.pending.push(...r);
    if (this.pending.length > FLUSH) this.flush();
  }

  private flush(): void {
    const words = Uint32Array.from(this.pending);
    const bytes = new Uint8Array(words.buffer);
    this.digest.update(bytes);
    let at = 0;
    while (at < bytes.length) at += writeSync(this.fd, bytes, at, bytes.length - at, this.written * 4 + at);
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
    readSync(this.fd, new Uint8Array(words.buffer), 0, total * 4, this.offsets[i]! * 4);
    let at = this.promptLengths[i]!;
    const responses = lengths.map((n) => words.subarray(at, (at += n)));
    return { id: this.ids[i]!, prompt: words.subarray(0, this.promptLengths[i]), responses };
  }

  close(): void {
    closeSync(this.fd);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function unusable(e: Example): string | undefined {
  const text = (side: Example['chosen'] | undefined): string =>
    side === undefined ? '' : typeof side === 'string' ? side.trim() : side.map((x) => (typeof x === 'number' ? `${x} ` : x.content)).join('').trim();
  const rejected = text(e.rejected);
  if (text(e.chosen) === '' || (e.rejected !== undefined && rejected === '')) return 'empty response';
  if (e.rejected !== undefined && text(e.chosen) === rejected) return 'chosen and rejected are identical';
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
