import { existsSync, readFileSync } from 'node:fs';
import { AppendLog } from '../train/append_log.js';

export type KeptLine = Record<string, unknown>;

/**
 * An NDJSON file whose first line says what the rest was made with. Lines of an earlier run with the same header are kept, a torn last line is
 * dropped; another header starts the file over, and `note` is told.
 */
export function openKeptLines(path: string, header: object, note: (text: string) => void): { log: AppendLog; lines: KeptLine[] } {
  const first = `${JSON.stringify(header)}\n`;
  const old = existsSync(path) ? readFileSync(path, 'utf8') : '';
  if (!old.startsWith(first)) {
    if (old !== '') note(`${path} was made with other settings and is made anew`);
    const log = new AppendLog(path, 0);
    log.append(first);
    return { log, lines: [] };
  }
  const whole = old.slice(0, old.lastIndexOf('\n') + 1);
  const lines = whole.slice(first.length).split('\n').filter(Boolean).map((l) => JSON.parse(l) as KeptLine);
  if (lines.length > 0) note(`${path}: ${lines.length} lines are there already`);
  return { log: new AppendLog(path, Buffer.byteLength(whole)), lines };
}
