import { writeSync } from 'node:fs';
import pino, { type Logger } from 'pino';

/** Where a command speaks: data to stdout, everything for people to stderr. */
export interface CliIo {
  /** One line of data on stdout. */
  out(line: string): void;
  /** A sentence for a person, stderr. */
  say(text: string): void;
  warn(text: string): void;
  /** Structured log, JSON lines on stderr; silent unless EDPO_LOG names a level. */
  log: Logger;
  /** stderr is a terminal. */
  isTTY: boolean;
  debug: boolean;
  /** `callback` runs at the first SIGINT or SIGTERM; a second one ends the process at once with 130. Returns an undo. */
  onInterrupt(callback: (signal: string) => void): () => void;
}

/** Writes whole, also to a pipe whose reader is slow. */
function writeAll(fd: number, text: string): void {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(fd, bytes, at);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === 'EPIPE') return;
      if (code !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    }
  }
}

// A file-size limit (ulimit -f) is to be an error of the write, not the end of the process.
process.on('SIGXFSZ', () => undefined);

export function createIo(debug: boolean): CliIo {
  const log = pino({ level: process.env['EDPO_LOG'] ?? (debug ? 'debug' : 'silent'), base: null }, { write: (line) => writeAll(2, line) });
  return {
    out: (line) => writeAll(1, `${line}\n`),
    say: (text) => writeAll(2, `${text}\n`),
    warn: (text) => writeAll(2, `warning: ${text}\n`),
    log,
    isTTY: Boolean(process.stderr.isTTY),
    debug,
    onInterrupt: (callback) => {
      let seen = false;
      const handler = (signal: string): void => {
        if (seen) process.exit(130);
        seen = true;
        callback(signal);
      };
      process.on('SIGINT', handler);
      process.on('SIGTERM', handler);
      return () => {
        process.off('SIGINT', handler);
        process.off('SIGTERM', handler);
      };
    },
  };
}
