import { writeAtomic } from '../../files/atomic.js';
import { AppendLog } from '../append_log.js';
import type { LogSink } from './types.js';

const cell = (v: number | null | undefined): string => (v === null || v === undefined || !Number.isFinite(v) ? '' : String(v));
const quoted = (name: string): string => (/[",\n]/.test(name) ? `"${name.replaceAll('"', '""')}"` : name);

/**
 * trainer_log.csv: one row per line of trainer_log.jsonl, a column for every key seen so far, empty where a line has none. Made from the
 * log when it is opened (so that a resume repeats no step) and when a key comes up for the first time; otherwise appended to.
 */
export class CsvSink implements LogSink {
  private columns: string[] = [];
  private file: AppendLog | undefined;

  /** @param lines what trainer_log.jsonl holds at the moment */
  constructor(private readonly path: string, private readonly lines: () => Array<Record<string, number>>) {
    this.rebuild();
  }

  private rebuild(): void {
    const lines = this.lines();
    this.columns = [...new Set(lines.flatMap((l) => Object.keys(l)))];
    const text = lines.length === 0 ? '' : `${this.columns.map(quoted).join(',')}\n${lines.map((l) => this.row(l)).join('')}`;
    this.file?.close();
    writeAtomic(this.path, text);
    this.file = new AppendLog(this.path, Buffer.byteLength(text));
  }

  private row(line: Record<string, number>): string {
    return `${this.columns.map((c) => cell(line[c])).join(',')}\n`;
  }

  write(line: Record<string, number>): void {
    if (Object.keys(line).some((k) => !this.columns.includes(k))) this.rebuild();
    else this.file!.append(this.row(line));
  }
  sync(): void {
    this.file!.sync();
  }
  close(): void {
    this.file!.close();
  }
}
