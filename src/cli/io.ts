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
  /** The command was asked for JSON (`--json`): one object (or one a line) on stdout instead of text. */
  json?: boolean;
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

/** Colour of the word a line to people begins with. */
const COLOURS: Array<[RegExp, string]> = [[/^edpo:/, '1;31'], [/^warning:/, '33'], [/^(hint|note):/, '36']];

/** Colour on a terminal, or where FORCE_COLOR asks for it; never under NO_COLOR (no-color.org) or on a dumb terminal. */
function coloured(): boolean {
  if (process.env['NO_COLOR'] || process.env['TERM'] === 'dumb') return false;
  return Boolean(process.stderr.isTTY) || !['', '0', undefined].includes(process.env['FORCE_COLOR']);
}

function paint(text: string): string {
  if (!coloured()) return text;
  const found = COLOURS.find(([word]) => word.test(text));
  return found ? text.replace(found[0], (word) => `\x1b[${found[1]}m${word}\x1b[0m`) : text;
}

export interface Loudness {
  /** Warnings and errors alone. */
  quiet?: boolean;
  /** The log's level info, too. */
  verbose?: boolean;
  debug?: boolean;
  json?: boolean;
}

export function createIo({ quiet = false, verbose = false, debug = false, json = false }: Loudness): CliIo {
  const log = pino({ level: process.env['EDPO_LOG'] ?? (debug ? 'debug' : verbose ? 'info' : 'silent'), base: null }, { write: (line) => writeAll(2, line) });
  return {
    out: (line) => writeAll(1, `${line}\n`),
    say: (text) => void (quiet || writeAll(2, `${paint(text)}\n`)),
    warn: (text) => writeAll(2, `${paint(`warning: ${text}`)}\n`),
    log,
    // A bar is for terminals that can redraw a line.
    isTTY: Boolean(process.stderr.isTTY) && !quiet && process.env['TERM'] !== 'dumb',
    debug, json,
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
